"""Entry point of `python -m convsweep`."""

from convsweep.cli import run_process

if __name__ == "__main__":
    run_process()
