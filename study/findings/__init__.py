"""What the trials of a study say beyond its best one: pure functions over trial records, each with its doubt."""
