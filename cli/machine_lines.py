"""Lines of machines that could not start their node, after a log that says nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmcloud.cli import output
from llmcloud.core import machine_log
from llmcloud.runtime.errors import Failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmcloud.cli.session import OpenJob
    from llmcloud.core.logs import Line


def show_machines(opened: OpenJob, show: Callable[[Line], None]) -> None:
    """Show what there is of them; a provider that can't be asked now takes nothing from the log."""
    try:
        for line in machine_log.lines(opened.store, lambda: opened.compute, opened.id):
            show(line)
    except Failure as failure:
        output.warn(f"what its machines printed can't be read: {failure}")
