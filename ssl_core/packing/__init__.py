"""Writers of packs, from the folders and archives that people have."""
