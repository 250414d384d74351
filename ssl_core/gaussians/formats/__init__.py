"""One decoder a format."""
