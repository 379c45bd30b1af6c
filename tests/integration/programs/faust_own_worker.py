"""Faust's own worker, with the Faust application that FAUST_APP names; WITHOUT is a module that is not there."""

import os
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    if without := os.environ.get("WITHOUT"):
        modules: dict[str, Any] = sys.modules
        modules[without] = None
    from faust.cli.faust import cli

    sys.path.insert(0, str(Path(__file__).parent))
    options = ["--datadir", os.environ["DATADIR"], "-l", "info"]
    sys.argv = ["faust", "-A", os.environ["FAUST_APP"], *options[:2], "worker", *options[2:], "--without-web"]
    cli()
