"""Triangle meshes, and the procedural household set."""
