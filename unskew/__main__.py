"""`python -m unskew` is the command `unskew`."""

from .cli.main import main

if __name__ == "__main__":
    main()
