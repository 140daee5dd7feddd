"""The fake in a process of its own: prints its URL, serves until it is told to end."""

from __future__ import annotations

import argparse
import signal
import sys
import threading

from tests.rig.gcs import GcsFake


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.rig.gcs", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--token", action="append", help="accept only these bearer tokens")
    parser.add_argument("--taken", action="append", default=[], help="somebody else's bucket")
    options = parser.parse_args()
    fake = GcsFake(options.port, tokens=options.token)
    fake.taken.update(options.taken)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    fake.start()
    print(fake.url, flush=True)
    ended.wait()
    fake.stop()
    for problem in fake.problems:
        print(problem, file=sys.stderr)
    return 1 if fake.problems else 0


if __name__ == "__main__":
    sys.exit(main())
