"""What a study tells MLflow, and how it gets there once."""
