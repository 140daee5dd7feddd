"""Where llmcloud keeps its things on this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from llmcloud.core.errors import UsageError
from llmcloud.runtime.errors import Failure, PermissionDenied

if TYPE_CHECKING:
    from collections.abc import Mapping

HOME_VARIABLE = "LLMCLOUD_HOME"


@dataclass(frozen=True)
class Home:
    """The folder of local state, and the user's config file beside or in it."""

    root: Path
    config_file: Path

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Home:
        """Find it: LLMCLOUD_HOME, else where the platform keeps such things."""
        if named := environ.get(HOME_VARIABLE):
            try:
                root = Path(named).expanduser().absolute()
            except RuntimeError as error:
                raise UsageError(f"{named}: there is no such user.", where=HOME_VARIABLE) from error
            return cls(root, root / "config.yaml")
        import platformdirs

        config = platformdirs.user_config_path("llmcloud", appauthor=False)
        return cls(platformdirs.user_data_path("llmcloud", appauthor=False), config / "config.yaml")

    def create(self) -> None:
        """Make the folder, for its owner alone; Failure when it can't be made."""
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            for folder in (self.nodes, self.venvs):  # that lie in a job's code, perhaps
                folder.mkdir(parents=True, exist_ok=True)
                (folder / ".gitignore").write_text("*\n")
        except OSError as error:
            raise self.unusable(error) from error

    def unusable(self, error: OSError) -> Failure:
        """Return what to raise when nothing can be written here."""
        kind = PermissionDenied if isinstance(error, PermissionError) else Failure
        return kind(
            f"The folder of local state can't be written: {error.strerror}.",
            where=str(self.root),
            fix=f"Choose another one with {HOME_VARIABLE}.",
        )

    @property
    def store_url(self) -> str:
        """Return the URL of the store of the jobs that run here."""
        return "file://" + quote(os.fsencode(self.root / "store"))

    @property
    def nodes(self) -> Path:
        """Return the folder of the nodes of local jobs."""
        return self.root / "nodes"

    @property
    def venvs(self) -> Path:
        """Return the folder of the jobs' virtual environments."""
        return self.root / "venvs"
