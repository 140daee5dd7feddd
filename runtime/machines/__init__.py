"""The machine that a node runs on, as far as its cloud tells the node of it."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from llmcloud.runtime.seat import Seat
    from llmcloud.runtime.store import ObjectStore
    from llmcloud.runtime.task import Task

KINDS = {
    "aws": "llmcloud.runtime.machines.aws",
    "sagemaker": "llmcloud.runtime.machines.sagemaker",
}


class Machine(ABC):
    """A rented machine: who it is, what only it may know, and when it must go.

    `exit_code` is what the node's program ends with, for services that look at it.
    """

    exit_code = 0

    @property
    @abstractmethod
    def host(self) -> str:
        """Return the address by which the job's other nodes reach it."""

    @abstractmethod
    def rank(self, store: ObjectStore, task: Task) -> int:
        """Return which of the job's nodes it is; waits for a place to be free, if need be."""

    @abstractmethod
    def secrets(self, task: Task) -> Mapping[str, str]:
        """Return the values of the job's secrets by name."""

    def furnish(self, seat: Seat) -> Seat:
        """Return a node's seat with what the cloud has brought to this machine."""
        return seat

    @abstractmethod
    def is_leaving(self) -> bool:
        """Tell whether the cloud has announced to take it away."""

    @abstractmethod
    def give_up(self) -> None:
        """Let a replacement have its place, after `is_leaving`."""

    @abstractmethod
    def retire(self, *, last: bool) -> None:
        """See to it that nothing replaces it, as the job has ended; the last one ends them all."""


def open_machine(options: argparse.Namespace) -> Machine:
    """Return the machine that this is, by the name of its cloud."""
    made: Machine = importlib.import_module(KINDS[options.machine]).make(options)
    return made
