"""`python -m tests.brokers`: download the Kafka and the schema registry of the tests, and print which Kafka it is.

`start` runs a broker until Ctrl-C.
"""

from __future__ import annotations

import signal
import sys

from tests.brokers import registry
from tests.brokers.choice import choose


def main() -> None:
    chosen = choose(download=True)
    print(f"The tests use {chosen.describe()}", flush=True)
    if registry.why_not():
        print(f"NO SCHEMA REGISTRY; tests that need one ARE LEFT OUT ({registry.why_not()})", flush=True)
    if sys.argv[1:] == ["start"]:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        kafka = chosen.start_shared()
        print(f"{kafka.bootstrap}, until Ctrl-C", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
        kafka.close()


if __name__ == "__main__":
    main()
