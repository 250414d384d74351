"""A study as a Ray job: what travels, and what runs at the other end."""
