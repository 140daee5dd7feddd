"""What the heartbeats of a job's nodes cost, and how that grows with the nodes.

python -m benchmarks.heartbeats [--runs N] [--quick]

The nodes are objects in a store, written through the code that nodes run; no processes.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from benchmarks import generate, measure
from benchmarks.measure import ms

from llmcloud.core import job as jobs
from llmcloud.core.follow import Ending
from llmcloud.core.home import Home
from llmcloud.runtime import heartbeat
from llmcloud.runtime.store import open_store
from llmcloud.runtime.supervise import Stop
from llmcloud.runtime.watch import POLL_S, Watch, Watched

SIZES = (1, 16, 64, 256)


def main() -> None:
    """Measure and print the table."""
    options = measure.options(__doc__, runs=15, quick_runs=3)
    with tempfile.TemporaryDirectory() as scratch:
        rows = [row(Path(scratch, str(nodes)), nodes, options.runs) for nodes in SIZES]
    headings = ("nodes", "write one", "read all", "node 0 looks", "another looks")
    shares = ("node 0's CPU share", "a follower looks", "status (command)")
    measure.show((*headings, *shares), rows)


def row(home: Path, nodes: int, runs: int) -> list[str]:
    """Measure one size."""
    job_id = "tiny-gpt-running"
    generate.running(home, job_id, nodes)
    store = open_store(Home(home, home / "config.yaml").store_url)
    task = jobs.read(store, job_id).task
    beat = generate.beat(0)
    looks = [Watch(Watched(store, task, 1, rank), Stop(), lambda: None) for rank in (0, 1)]
    ending = Ending(store, job_id, lambda: jobs.observe_status(store, job_id, None))
    environ = {**os.environ, "LLMCLOUD_HOME": str(home)}
    found = measure.in_turns(
        runs,
        {
            "write": lambda: measure.timed(lambda: heartbeat.write(store, job_id, 1, beat)),
            "read": lambda: measure.timed(lambda: heartbeat.read_all(store, job_id, 1)),
            "first": lambda: measure.timed(looks[0].look),
            "other": lambda: measure.timed(looks[1].look),
            "follow": lambda: measure.timed(ending),
            "status": lambda: measure.run([measure.LLMCLOUD, "status", job_id], environ),
        },
    )
    times = {name: ms(cost.cpu_s) for name, cost in found.items()}
    share = f"{found['first'].cpu_s / POLL_S:.1%}"
    order = ("write", "read", "first", "other")
    return [str(nodes), *(times[name] for name in order), share, times["follow"], times["status"]]


if __name__ == "__main__":
    main()
