"""Registered models: files, lineage, fetching, import."""
