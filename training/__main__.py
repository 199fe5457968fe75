"""Entry point of `python -m training`."""

from texgen.cli.main import run
from training.command import train

if __name__ == "__main__":
    run(train)
