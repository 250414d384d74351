"""Packs as files that travel: made in parallel, kept on object stores, brought to nodes."""
