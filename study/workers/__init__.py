"""What happens where a trial trains: epochs, checkpoints, failures, memory."""
