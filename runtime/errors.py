"""What can go wrong in the world, as values that say what happened, where, and how to fix it."""

from __future__ import annotations


class Failure(Exception):
    """Something outside the program went wrong; shown to the user as a panel, never a traceback.

    `what` is one sentence, `where` names the file:line:key or the provider/region/resource,
    `fix` is a command or an action. `exit_code` is the process's, from the table in the README.
    """

    exit_code = 6
    asked_wait_s = 0.0  # before another try, as the service asks

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.fix = what, where, fix

    def __str__(self) -> str:
        return " ".join(part for part in (self.what, self.where and f"({self.where})") if part)


class CredentialsError(Failure):
    """No credentials, or credentials that have expired."""

    exit_code = 4


class PermissionDenied(Failure):
    """The identity is known but may not do this."""

    exit_code = 4


class QuotaExceeded(Failure):
    """The account's own limit; the next offer may do."""

    exit_code = 5


class NoCapacity(Failure):
    """The place has none of these machines now; the next offer may do."""

    exit_code = 5


class InvalidRequest(Failure):
    """The provider will never accept this request."""


class NotFound(Failure):
    """No such job, object or bucket."""

    exit_code = 9


class Conflict(Failure):
    """A conditional write lost: the object exists, or is no longer what was read."""


class Throttled(Failure):
    """Too many requests; try again later."""


class Unavailable(Failure):
    """The service or the disk did not answer as it should; trying again may help."""


class Unreadable(Failure):
    """A document in the store is damaged, or means something in another version only."""


class StoreFull(Unavailable):
    """No space is left where the store lies."""


class StoreGone(Failure):
    """The store itself is not there: a bucket of another name, removed, or unmounted."""

    exit_code = 9
