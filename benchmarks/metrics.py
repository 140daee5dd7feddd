"""How many lines a second are searched for metrics, and what a whole log's way to the store costs.

python -m benchmarks.metrics [--runs N] [--quick]
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

from benchmarks import measure

from llmcloud.runtime.capture import Capture
from llmcloud.runtime.metrics.collector import Collector
from llmcloud.runtime.segments import SegmentWriter
from llmcloud.runtime.store import open_store
from llmcloud.runtime.task import MetricPattern

LINES = 20_000
PRINTED = {
    "ordinary text": "INFO 2026-11-21 10:31:00 data.loader: shard {n} of 512 is open, 4096 rows",
    "nanoGPT": "iter {n}: loss 3.1415, time 12.34ms, mfu 31.20%",
    "Hugging Face Trainer": "{{'loss': 3.1415, 'grad_norm': 0.5, 'learning_rate': 0.0003, "
    "'epoch': {n}.0}}",
    "key=value": "step={n} loss=3.1415 lr=0.0003 tokens_per_s=12345.6",
}
OWN = MetricPattern("perplexity", r"perplexity: ([0-9.]+)")


def main() -> None:
    """Measure and print the table."""
    options = measure.options(__doc__, runs=9, quick_runs=3)
    texts = {name: [line.format(n=n) for n in range(LINES)] for name, line in PRINTED.items()}
    subjects = {name: partial(search, lines) for name, lines in texts.items()}
    subjects["ordinary text, a regex of the user's"] = partial(search, texts["ordinary text"], OWN)
    subjects["nanoGPT, from the pipe to the store"] = partial(ship, texts["nanoGPT"])
    found = measure.in_turns(options.runs, subjects)
    rows = [
        [name, f"{LINES / cost.cpu_s:,.0f}", f"{cost.cpu_s / LINES * 1e6:.1f} µs"]
        for name, cost in found.items()
    ]
    measure.show(("", "lines/s", "CPU of a line"), rows)


def search(lines: list[str], *patterns: MetricPattern) -> measure.Cost:
    """Feed lines as a node does, and collect what they say."""
    collector = Collector(patterns)

    def work() -> None:
        for line in lines:
            collector.feed(line)
        collector.poll()

    return measure.timed(work)


def ship(lines: list[str]) -> measure.Cost:
    """Take bytes as a pipe gives them, all the way to a segment in a store."""
    data = "".join(line + "\n" for line in lines).encode()
    pieces = [data[begin : begin + 4096] for begin in range(0, len(data), 4096)]
    with tempfile.TemporaryDirectory() as scratch:
        store = open_store(Path(scratch, "store").as_uri())
        store.create()
        collector = Collector()
        writer = SegmentWriter(store, "jobs/one/logs/0001/00000/", Path(scratch, "spool"))
        capture = Capture(writer.append, collector.feed)

        def work() -> None:
            for piece in pieces:
                capture.feed("stdout", piece)
            writer.flush()
            collector.poll()

        return measure.timed(work)


if __name__ == "__main__":
    main()
