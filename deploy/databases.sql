-- Runs once, when Postgres's volume is new: MLflow's authentication keeps its users apart from runs and models.
CREATE DATABASE mlflow_auth;
