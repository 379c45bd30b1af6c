"""`python -m tests.brokers`: gets the Kafka that the tests use and says which it is; `start` runs one until Ctrl-C."""

from __future__ import annotations

import signal
import sys

from tests.brokers.choice import choose


def main() -> None:
    chosen = choose(download=True)
    print(f"The tests use {chosen.describe()}", flush=True)
    if sys.argv[1:] == ["start"]:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        kafka = chosen.start_shared()
        print(f"{kafka.bootstrap}, until Ctrl-C", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
        kafka.close()


if __name__ == "__main__":
    main()
