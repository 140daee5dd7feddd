"""The command line: a table of commands, each imported when it is called, and one error handler."""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import typer
from typer import _completion_classes
from typer._click.exceptions import UsageError as WrongUsage
from typer.core import TyperCommand, TyperGroup

from llmcloud import __version__
from llmcloud.runtime.errors import Failure, PermissionDenied, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

TERMINATED = 128 + signal.SIGTERM

# name: (module, what in it is the command, the line that help shows); in the order of a day's work
COMMANDS = {
    "init": ("init", "init", "Write a starter job; without a name, list the templates."),
    "validate": ("spec", "validate", "Check a job file."),
    "schema": ("spec", "schema", "Print the JSON Schema of a job file."),
    "plan": ("plan", "plan", "Show what would happen, where, at what price. Offline."),
    "submit": ("submit", "submit", "Run a job; follows its log unless detached."),
    "list": ("jobs", "list_jobs", "List the jobs, the newest first."),
    "status": ("jobs", "status", "Show one job."),
    "watch": ("watch", "watch", "Show a job live: state, nodes, loss curve, time left."),
    "logs": ("logs", "logs", "Print a job's log."),
    "wait": ("jobs", "wait", "Wait until a job has ended, and exit as it did."),
    "cancel": ("jobs", "cancel", "Stop a job; what it saved stays."),
    "resume": ("submit", "resume", "Run an ended job on from its newest checkpoint."),
    "checkpoints": ("checkpoints", "app", "List and download a job's checkpoints."),
    "pull": ("pull", "pull", "Download a job's outputs."),
    "data": ("data", "app", "Move files and folders to and from a store."),
    "buckets": ("buckets", "app", "Make, list and delete buckets."),
    "instances": ("instances", "app", "Rent machines by themselves, and connect to them."),
    "accelerators": ("accelerators", "accelerators", "List the machines to rent, and prices."),
    "gc": ("gc", "gc", "Find and remove what jobs have left behind."),
    "doctor": ("doctor", "doctor", "Check that all a job needs is there."),
}


class LazyGroup(TyperGroup):
    """A group whose commands are imported only to be run: listing them needs no import."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {
            name: TyperCommand(name, help=text) for name, (_, _, text) in COMMANDS.items()
        }

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, _, rest = super().resolve_command(ctx, args)
        return name, None if name is None else _load(name), rest

    def invoke(self, ctx: Any) -> Any:
        try:
            super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # Whoever read our output has gone, which is no error (typer would exit with 1).
            _abandon(sys.stdout)
        except WrongUsage as error:  # typer tells people; programs want a document as well
            if "--json" in sys.argv:
                _print_json(error)
            raise


def _abandon(stream: TextIO) -> None:
    """Keep the interpreter from failing at its last flush."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _print_json(error: WrongUsage) -> None:
    from llmcloud.cli import output
    from llmcloud.core.errors import UsageError

    path = error.ctx.command_path if error.ctx else "llmcloud"
    output.json_mode(True)
    output.emit_failure(UsageError(error.format_message(), fix=f"{path} --help"))


def _load(name: str) -> Any:
    module, attribute, text = COMMANDS[name]
    found = getattr(importlib.import_module(f"llmcloud.cli.{module}"), attribute)
    if isinstance(found, typer.Typer):
        group = typer.main.get_command(found)
        group.help = text
        return group
    single = typer.Typer(rich_markup_mode=None, add_completion=False)
    single.command(name)(found)
    return typer.main.get_command(single)


app = typer.Typer(
    cls=LazyGroup,
    name="llmcloud",
    no_args_is_help=True,
    rich_markup_mode=None,  # rich takes longer to load than most commands take
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"llmcloud {__version__}")  # noqa: T201
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", help="Print the version.", callback=_print_version, is_eager=True
    ),
) -> None:
    """Train language models on any cloud, or on this machine, from one job file."""


def main() -> None:
    """Run the command line and exit."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # whoever called us has closed it
            setattr(sys, name, Path(os.devnull).open("r+"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a sign must not stop us
    if "_LLMCLOUD_COMPLETE" in os.environ:
        # For zsh and fish typer would load rich to take markup out of help that has none.
        _completion_classes._sanitize_help_text = lambda text: text  # noqa: SLF001
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # so that we tidy up
    exit_code = guarded(lambda: app(prog_name="llmcloud"))
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # told already; the interpreter would try again, and exit with 120
            _abandon(stream)
    sys.exit(exit_code)


def guarded(command: Callable[[], object]) -> int:
    """Run a command; whatever it raises becomes a message and an exit code."""
    try:
        command()
    except Failure as failure:
        from llmcloud.cli import output

        output.show_failure(failure)
        return failure.exit_code
    except KeyboardInterrupt:
        return 130
    except SystemExit as exiting:
        return exiting.code if isinstance(exiting.code, int) else int(bool(exiting.code))
    except OSError as error:  # a path that was named, a disk, an output: nothing closer knew more
        return _refused(error)
    except Exception:  # noqa: BLE001  a bug of ours: say so, with what is needed to mend it
        from llmcloud.cli import output

        output.show_bug()
        return 1
    return 0


def _refused(error: OSError) -> int:
    from llmcloud.cli import output

    kind = PermissionDenied if isinstance(error, PermissionError) else Unavailable
    what = f"The system refused: {error.strerror or error}."
    output.show_failure(kind(what, where=str(error.filename or "")))
    return kind.exit_code
