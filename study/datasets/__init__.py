"""Packs as files that travel, and the work that makes them as Ray tasks."""
