"""What is remembered about a study: its journal, and what can be read back from it."""
