"""Entry point of `texgen` and `python -m texgen`. It handles interrupts before it imports anything slow."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from texgen.cli.process import begin

if TYPE_CHECKING:
    import click


def main() -> NoReturn:
    """Run texgen's command line."""
    begin(_cli)


def _cli() -> click.Command:
    from texgen.cli.main import cli

    return cli


if __name__ == "__main__":
    main()
