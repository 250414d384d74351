"""Recorded learning curves of real runs; see README.md in this folder."""

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
TABLE = FOLDER / "cross_modal_modelnet10.json"
SPACE = FOLDER / "cross_modal_modelnet10.yaml"
