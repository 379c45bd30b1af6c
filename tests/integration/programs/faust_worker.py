"""`tidemill faust worker -A APP`, with the Faust application that FAUST_APP names."""

import os
import sys
from pathlib import Path

from tidemill.engine.cli.main import main

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    sys.argv = [
        "tidemill",
        "faust",
        "worker",
        "-A",
        os.environ["FAUST_APP"],
        *os.environ.get("FAUST_OPTIONS", "").split(),
    ]
    main()
