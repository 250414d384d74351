"""Write fresh secrets for compose.yaml into .env; what stands there already stays. Needs nothing but Python."""

import re
import secrets
import sys
from pathlib import Path

RANDOM = (
    "POSTGRES_PASSWORD",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_FLASK_SERVER_SECRET_KEY",
    "RAY_AUTH_TOKEN",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
)
FIXED = {"MLFLOW_TRACKING_USERNAME": "admin", "RAY_AUTH_MODE": "token"}


def fill(text: str) -> tuple[str, list[str]]:
    """The file's text with what it lacks, and the names that were added. An empty value counts as lacking."""
    there = {name for name, value in re.findall(r"^\s*(?:export\s+)?(\w+)=(.*)$", text, re.M) if value.strip()}
    lacking = {name: secrets.token_hex(20) for name in RANDOM} | FIXED
    added = {name: value for name, value in lacking.items() if name not in there}
    kept = [line for line in text.splitlines() if line.partition("=")[0].strip() not in added]
    return "".join(f"{line}\n" for line in [*kept, *(f"{name}={value}" for name, value in added.items())]), list(added)


def main(file: Path) -> None:
    """Rewrite the file, readable by its owner only."""
    text, added = fill(file.read_text() if file.exists() else "")
    file.touch(mode=0o600)
    file.chmod(0o600)
    file.write_text(text)
    print(f"{file}: added {', '.join(added)}" if added else f"{file}: nothing is missing")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ".env"))
