"""Try an installed Tidemill: its files, its command, and a program with state.

python -I .ci/try_installed.py
"""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import distribution, version
from pathlib import Path

import tidemill as tm


def main() -> None:
    here = Path(tm.__file__).parent
    assert here.parent.name == "site-packages", f"{here} is not installed"
    assert (here / "py.typed").is_file()
    assert tm.__version__ == version("tidemill")
    command = Path(sys.executable).with_name("tidemill")
    told = subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout
    assert tm.__version__ in told, told

    app = tm.App("shop")
    orders = app.stream("orders", key=tm.utf8, value=tm.json)
    orders.group_by_key().aggregate(pieces=tm.sum("pieces")).named("totals").to("totals", value=tm.json)
    with tm.testing.TopologyDriver(app) as driver:
        for pieces in (2, 3):
            driver.send("orders", key="ann", value={"pieces": pieces}, timestamp=1)
        assert [record.value for record in driver.read("totals")] == [{"pieces": 2}, {"pieces": 5}]
    extras = distribution("tidemill").metadata.get_all("Provides-Extra") or []
    print(f"Tidemill {tm.__version__} works on Python {sys.version.split()[0]}; extras: {', '.join(sorted(extras))}")


if __name__ == "__main__":
    main()
