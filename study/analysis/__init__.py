"""What the trials of a study say beyond its best one, each with its uncertainty."""
