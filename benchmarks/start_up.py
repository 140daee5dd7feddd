"""What a command costs before it does anything: CPU time against others' in the same minutes.

    python -m benchmarks.start_up [--runs N] [--quick] [--peers FOLDER]

`list` has no jobs to list, `validate` a template's job file to check, completion three commands
to offer. A typer program with one command that does nothing shows what the library itself takes.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import measure
from benchmarks.measure import LLMCLOUD, ms

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.measure import Cost

PEERS = {"aws": "awscli==1.46.3", "torchx": "torchx==0.7.0"}
BARE, TYPER, AWS = "python -c pass", "an empty typer program", "aws --version"
EMPTY = """
import typer
app = typer.Typer(rich_markup_mode=None, add_completion=False)
app.command()(lambda: None)
app()
"""
JOB_FILE = Path(__file__).parents[1] / "templates" / "tiny-gpt" / "job.yaml"


def main() -> None:
    """Print a table of medians."""
    options = measure.options(__doc__, runs=31, quick_runs=3)
    with tempfile.TemporaryDirectory() as home:
        subjects = _subjects(home, options.peers)
        measure.in_turns(1, subjects)  # fills the disk's cache, compiles
        costs = measure.in_turns(options.runs, subjects)
    bare_s, aws_s = costs[BARE].cpu_s, costs[AWS].cpu_s
    rows = [
        [f"`{name}`", ms(cost.cpu_s), ms(cost.cpu_s - bare_s), f"{cost.cpu_s / aws_s:.0%}"]
        for name, cost in costs.items()
    ]
    measure.show(["command", "CPU", f"over `{BARE}`", f"of `{AWS}`"], rows)


def _subjects(home: str, peers: Path) -> dict[str, Callable[[], Cost]]:
    ours = {**os.environ, "LLMCLOUD_HOME": home}
    completing = {
        **ours,
        "_LLMCLOUD_COMPLETE": "complete_bash",
        "COMP_WORDS": "llmcloud s",
        "COMP_CWORD": "1",
    }
    aws, torchx = (measure.peer(peers, *each) for each in PEERS.items())
    return {
        BARE: lambda: measure.run([sys.executable, "-c", "pass"]),
        TYPER: lambda: measure.run([sys.executable, "-c", EMPTY]),
        "llmcloud --help": lambda: measure.run([LLMCLOUD, "--help"], ours),
        "llmcloud list": lambda: measure.run([LLMCLOUD, "list"], ours),
        "llmcloud validate": lambda: measure.run([LLMCLOUD, "validate", str(JOB_FILE)], ours),
        "llmcloud s<Tab>": lambda: measure.run([LLMCLOUD], completing),
        AWS: lambda: measure.run([aws, "--version"]),
        "torchx --help": lambda: measure.run([torchx, "--help"]),
    }


if __name__ == "__main__":
    main()
