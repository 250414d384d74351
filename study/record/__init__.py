"""What is on disk about a study: its journal and what the lines add up to."""
