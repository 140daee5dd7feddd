"""What a command works with: the user's home and config, and the stores jobs may lie in."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated

import typer

from llmcloud.core import job as jobs
from llmcloud.core import stores
from llmcloud.core.config import Config
from llmcloud.core.errors import UsageError
from llmcloud.core.home import Home
from llmcloud.core.stores import open_store
from llmcloud.runtime.errors import Failure, InvalidRequest, NotFound

if TYPE_CHECKING:
    from llmcloud.core.job import View
    from llmcloud.core.provider import Compute, Machine
    from llmcloud.runtime.status import Status
    from llmcloud.runtime.store import ObjectStore

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else.")]
StoreOption = Annotated[
    str,
    typer.Option("--store", metavar="URL", help="The store to look in.", show_default=False),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Answer questions with yes.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the file; may be repeated."),
]


@dataclass(frozen=True)
class Session:
    """One command's view of this machine; `named` is the store that the command was given."""

    home: Home
    named: str = ""

    @classmethod
    def open(cls, store_url: str = "") -> Session:
        """Look at the environment."""
        return cls(Home.from_env(os.environ), store_url)

    @cached_property
    def store_url(self) -> str:
        """Return the store named, else the config file's, else the local one."""
        return self.named or Config.load(self.home, os.environ).store or self.home.store_url

    @property
    def stores(self) -> list[ObjectStore]:
        """Return where jobs are looked for: the store named, else all that are known."""
        if not self.named:
            return stores.opened(self.home, self.store_url)
        if not self.store.is_there():
            raise NotFound("There is no store here.", where=self.store.url)
        return [self.store]

    @cached_property
    def store(self) -> ObjectStore:
        """Return the store that commands look in; UsageError for a --store that can be none."""
        try:
            return open_store(self.store_url)
        except InvalidRequest as failure:
            if not self.named:
                raise
            raise UsageError(f"--store: {failure.what}", fix=failure.fix) from failure

    def compute(self, provider: str) -> Compute:
        """Return a provider by name."""
        from llmcloud.core import registry

        return registry.compute(provider, self.home)


@dataclass
class OpenJob:
    """A job that a command was asked about."""

    session: Session
    store: ObjectStore
    id: str
    _look_at_s: float = field(default=0.0, init=False)
    _machines: list[Machine] | None = field(default=None, init=False)

    @classmethod
    def find(cls, wanted: str, store_url: str = "") -> OpenJob:
        """Find a job by its id, its name, or a unique prefix of its name."""
        from llmcloud.cli import output

        session = Session.open(store_url)
        store, job_id = jobs.find_in(session.stores, wanted, output.warn)
        return cls(session, store, job_id)

    @cached_property
    def compute(self) -> Compute:
        """Return the provider that the job runs on."""
        return self.session.compute(jobs.read(self.store, self.id).provider)

    def observe(self) -> View:
        """Ask everyone who knows something of the job; the provider is not asked each time."""
        provider = self.compute if self._machines is None else self._provider()
        seen = jobs.observe(self.store, self.id, provider)
        if provider:
            self._machines = seen.machines
        return replace(seen, machines=self._machines or [])

    def status(self) -> Status:
        """Return the state as everyone together sees it, as `observe`."""
        return jobs.observe_status(self.store, self.id, self._provider())

    def _provider(self) -> Compute | None:
        """Return whom to ask for machines; None when that was done just now."""
        if time.monotonic() < self._look_at_s:
            return None
        self._look_at_s = time.monotonic() + self.compute.look_every_s
        return self.compute

    def tidy_up(self) -> None:
        """End what the job, which has ended, still has at its provider; what won't go is told.

        How the job ended counts for more, and nothing that bills depends on this.
        """
        if self.compute.tidies_up:
            return
        from llmcloud.cli import output
        from llmcloud.core import tidy

        try:
            jobs.reconcile(self.store, self.id, self.compute)  # while one can see how it ended
            tidy.run(self.store, self.compute, jobs.read(self.store, self.id), output.mention)
        except Failure as failure:
            output.warn(f"what the job used is not all gone: {failure} (llmcloud gc removes it)")
        except KeyboardInterrupt:
            output.say("\nWhat the job used is left to: llmcloud gc")
