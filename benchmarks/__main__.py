"""Run all benchmarks, quickly unless told otherwise.

python -m benchmarks [OPTIONS OF EACH]
"""

from __future__ import annotations

import subprocess
import sys

BENCHMARKS = (
    *("start_up", "submit", "list_jobs", "logs", "heartbeats", "metrics"),
    *("data_plane", "data_plane.listing", "aws"),
)


def main() -> None:
    """Run one after another; they would disturb each other."""
    arguments = sys.argv[1:] or ["--quick"]
    for name in BENCHMARKS:
        print(f"benchmarks.{name}\n", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *arguments], check=True)


if __name__ == "__main__":
    main()
