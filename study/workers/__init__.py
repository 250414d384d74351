"""Where a trial trains: epochs, checkpoints, failures, memory. No Ray."""
