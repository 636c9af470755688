"""Entry point of `python -m convsweep`."""

from convsweep.cli import main

if __name__ == "__main__":
    main()
