"""What can go wrong while bytes are moved."""

from __future__ import annotations

from llmcloud.core.errors import printable
from llmcloud.runtime.errors import (
    CredentialsError,
    Failure,
    InvalidRequest,
    PermissionDenied,
    StoreFull,
    StoreGone,
    Throttled,
    Unavailable,
)

NAMED_FAILURES = 20
RENAME = "Rename them, or leave them out with --exclude."


class Damaged(Failure):
    """Bytes are not what their digest says."""


class OutOfSpace(Unavailable):
    """The disk that is written to is full."""


class NoAnswer(Unavailable):
    """One request after the other was given up, and none went well: so would the rest."""


class Changed(Failure):
    """A file or object changed while it was read."""


def changed(path: object) -> Changed:
    """Return what to raise for a file that is not what it was when its digest was taken."""
    return Changed("A file changed while it was uploaded.", where=str(path), fix="Submit again.")


class PartlyFailed(Failure):
    """Some files could not be transferred; the others were. `failed` says why, by name.

    After a dry run: some can't be, and the others would be.
    """

    def __init__(
        self, failed: dict[str, Failure], done: int, where: str, *, dry_run: bool = False
    ) -> None:
        self.failed = {name: failure.what for name, failure in failed.items()}
        named = [
            f"{printable(name)}: {reason}"
            for name, reason in sorted(self.failed.items())[:NAMED_FAILURES]
        ]
        if len(failed) > NAMED_FAILURES:
            named.append(f"… and {len(failed) - NAMED_FAILURES} more; --json names them all")
        noun = "file" if len(failed) == 1 else "files"
        would, were = ("would fail", "would be") if dry_run else ("failed", "were")
        what = f"{len(failed):,} {noun} {would}, {done:,} {were} transferred."
        super().__init__("\n".join([what, *named]), where=where, fix=_fix(failed, dry_run))


def _fix(failed: dict[str, Failure], dry_run: bool) -> str:
    if all(isinstance(failure, InvalidRequest) for failure in failed.values()):
        return RENAME
    if dry_run:
        return "See to it that they can be read, or leave them out with --exclude."
    return "Run the command again: what was transferred is not sent twice."


# These meet every file alike: the rest need not be tried.
FATAL = (CredentialsError, PermissionDenied, StoreFull, StoreGone, OutOfSpace, NoAnswer)
PASSING = (Throttled, Unavailable)
