"""The command line by a name that nobody else has: `splatsweep ...`, or `python -m splatsweep ...`.

In a notebook `import splatsweep` lets `study`, `registry` and the other packages be ours, where the working directory
holds files of these names.
"""

import ssl_core.own_packages  # noqa: F401 - before anything else of ours


def main() -> None:
    """Entry point."""
    from study.commands.cli import main as command_line

    command_line()


if __name__ == "__main__":
    main()
