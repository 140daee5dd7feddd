"""What the cloud's layer and the hypervisor say to one another of an instance."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime


@dataclass(frozen=True)
class RoleCredentials:
    """What IMDS hands to an instance for the role of its profile."""

    role: str
    access_key_id: str
    secret_access_key: str
    session_token: str
    expiration: datetime


@dataclass(frozen=True)
class Boot:
    """An instance to boot: `address` is its private IPv4, `user_data` the decoded bytes.

    `credentials` is asked each time that the instance asks: None without an instance profile.
    """

    instance_id: str
    address: str
    user_data: bytes
    region: str
    zone: str
    instance_type: str
    launch_index: int
    image_id: str
    account: str = "123456789012"
    profile_arn: str | None = None
    credentials: Callable[[], RoleCredentials] | None = None
    spot: bool = False
    minute_s: int = 60
    tags: Mapping[str, str] = field(default_factory=dict)


class Hypervisor(Protocol):
    """What boots instances. The layer sets `on_shutdown`: an instance switched itself off."""

    on_shutdown: Callable[[str], None]

    def boot(self, boot: Boot) -> None:
        """Start a machine; it goes on by itself."""

    def kill(self, instance_id: str) -> None:
        """End all processes of a machine now, without a report; one that is gone is no error."""

    def notice(self, instance_id: str, action: str, time: datetime) -> None:
        """Let IMDS announce an interruption: `action` is terminate, stop or hibernate."""

    def console(self, instance_id: str) -> bytes:
        """Return what the user data printed so far; it outlives the machine."""
