"""Files and folders that are whole or absent, archives, images, sources of bytes."""
