"""What a person looks at: files, packs and scenes as text and as pages."""
