"""What the fakes share: the switches that tests set, and the locks."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from tests.rig.aws.call import Refusal

if TYPE_CHECKING:
    from tests.rig.aws.machine import Hypervisor


@dataclass
class Knobs:
    """Numbers that tests set; a look is a request that describes or deletes EC2's resources.

    Without a hypervisor, instances go to their next state after so many looks. An instance is not
    found for its first `unseen_looks`; a new instance profile is not known to the first
    `profile_refusals` launches with it. `latency_s` is added to each request. With
    `enforces_iam` each signature is checked, and each policy. A machine that `hangs` does nothing
    of what its user data says; `minute_s` is how long a minute of shutdown(8) takes.
    """

    pending_looks: int = 1
    stopping_looks: int = 1
    unseen_looks: int = 0
    profile_refusals: int = 0
    hangs: bool = False
    minute_s: int = 60
    latency_s: float = 0.0
    enforces_iam: bool = False
    spot_notice_s: float = 120.0

    def set(self, values: dict[str, object]) -> None:
        """Set those that are named; ValueError for one that is none."""
        if unknown := values.keys() - {each.name for each in fields(self)}:
            raise ValueError(f"no such switches: {sorted(unknown)}")
        for name, value in values.items():
            setattr(self, name, value)


@dataclass
class Shortage:
    """A launch that EC2 refuses: where, of which type; empty is any. `times` 0 is each time."""

    code: str
    region: str = ""
    zone: str = ""
    instance_type: str = ""
    spot: bool | None = None
    times: int = 0
    message: str = ""

    def meets(self, launch: Wanted) -> bool:
        return (
            self.region in {"", launch.region}
            and self.zone in {"", launch.zone}
            and self.instance_type in {"", launch.instance_type}
            and self.spot in {None, launch.spot}
        )


@dataclass(frozen=True)
class Wanted:
    """Where somebody would like to have how many instances."""

    region: str
    zone: str
    instance_type: str
    spot: bool
    count: int


@dataclass
class World:
    """One account's state that moto does not keep."""

    knobs: Knobs = field(default_factory=Knobs)
    hypervisor: Hypervisor | None = None
    shortages: list[Shortage] = field(default_factory=list)
    quotas: dict[tuple[str, str], float] = field(default_factory=dict)
    spot_prices: dict[tuple[str, str], float] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)
    problems: list[str] = field(default_factory=list)
    expired_keys: set[str] = field(default_factory=set)
    disabled_regions: set[str] = field(default_factory=set)
    taken_buckets: set[str] = field(default_factory=set)

    def refuse_if_short(self, wanted: Wanted) -> None:
        """Raise what a test said EC2 answers to such a launch."""
        for each in self.shortages:
            if each.meets(wanted):
                if each.times == 1:
                    self.shortages.remove(each)
                each.times -= bool(each.times)
                raise Refusal(each.code, each.message or _said(each.code, wanted))


def _said(code: str, wanted: Wanted) -> str:
    texts = {
        "InsufficientInstanceCapacity": f"We currently do not have sufficient "
        f"{wanted.instance_type} capacity in the Availability Zone you requested ({wanted.zone}).",
        "MaxSpotInstanceCountExceeded": "Max spot instance count exceeded",
        "VcpuLimitExceeded": "You have requested more vCPU capacity than your current vCPU limit.",
        "SpotMaxPriceTooLow": "Your Spot request price is lower than the minimum required "
        "Spot request fulfillment price.",
        "Unsupported": f"Your requested instance type ({wanted.instance_type}) is not supported "
        f"in your requested Availability Zone ({wanted.zone}).",
        "UnfulfillableCapacity": "Unable to fulfill capacity due to your request configuration.",
    }
    return texts.get(code, f"{code}, as the test wanted it.")
