"""What is tried next: samplers, their replayable suggestions, points given by hand, earlier studies."""
