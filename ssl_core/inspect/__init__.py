"""What a person looks at: facts and pages about files, packs and scenes."""
