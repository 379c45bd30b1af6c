"""Test that `import tidemill` only loads what declarations need; the engine is loaded when a program runs."""

from __future__ import annotations

import subprocess
import sys

ENGINE = ("confluent_kafka", "aiokafka", "rocksdict", "click", "prometheus_client", "asyncio", "pyarrow")


def test_a_declaration_loads_no_engine() -> None:
    program = "import sys, tidemill as tm; tm.App('a').stream('b').to('c'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "tidemill.app" in loaded
    assert not {"tidemill.testing", *ENGINE} & set(loaded)
