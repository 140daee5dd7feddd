"""Start the miniature cloud, run commands in it, end it.

python -m tests.rig up aws
python -m tests.rig exec -- llmcloud submit job.yaml
python -m tests.rig down
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

from tests.rig.aws import namespace

STATE = "rig.json"


def main() -> None:
    asked = _parser().parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        {"up": up, "exec": execute, "down": down}[asked.command](asked)


def up(_: argparse.Namespace) -> None:
    from tests.rig.aws import rig  # with all of moto, which the other commands do without

    try:
        with rig.up() as made:
            state = {"owner": os.getpid(), "pid": made.space.pid, "environ": made.environ}
            (made.space.scratch.parent / STATE).write_text(json.dumps(state))
            print("AWS is up. Run commands in it: python -m tests.rig exec -- COMMAND…", flush=True)
            signal.pause()
    except namespace.Unavailable as reason:
        sys.exit(f"No namespaces for the rig: {reason}.")


def execute(asked: argparse.Namespace) -> None:
    state = _state()
    argv = [*namespace.entering(state["pid"]), "env", f"--chdir={Path.cwd()}", *asked.argv]
    os.execvpe(argv[0], argv, {**os.environ, **state["environ"]})


def down(_: argparse.Namespace) -> None:
    os.kill(_state()["owner"], signal.SIGTERM)


def _state() -> dict:
    for each in Path(tempfile.gettempdir()).glob(f"{namespace.PREFIX}*/{STATE}"):
        state = json.loads(each.read_text())
        if each.stat().st_uid == os.geteuid() and Path("/proc", str(state["owner"])).exists():
            return state
    sys.exit("No rig is up. Start one: python -m tests.rig up aws.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.rig", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up").add_argument("cloud", choices=["aws"])
    commands.add_parser("exec").add_argument("argv", nargs="+")
    commands.add_parser("down")
    return parser


main()
