"""`python -m tidemill` is the command `tidemill`."""

from .engine.cli.main import main

if __name__ == "__main__":
    main()
