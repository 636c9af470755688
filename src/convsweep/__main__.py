"""`python -m convsweep` is the command line."""

from convsweep.cli import main

if __name__ == "__main__":
    main()
