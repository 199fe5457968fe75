"""`python -m texgen`."""

from texgen.cli.main import main

if __name__ == "__main__":
    main()
