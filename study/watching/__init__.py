"""Whoever registers an encoder, it is judged: `splatsweep watch`."""
