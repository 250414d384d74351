"""What a study will take before it is run: a pilot run and simulated studies."""
