"""What becomes of instances: pending, running, shutting down, terminated, each after a while."""

from __future__ import annotations

import base64
import threading
import time
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from moto.ec2.models import ec2_backends
from moto.ec2.models.instances import InstanceState, StateReason
from moto.iam.models import iam_backends
from moto.sts.models import sts_backends
from tests.rig.aws.account import ACCOUNT
from tests.rig.aws.call import Refusal
from tests.rig.aws.machine import Boot, RoleCredentials

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from moto.ec2.models.instances import Instance
    from tests.rig.aws.world import World

PENDING = InstanceState("pending", 0)
RUNNING = InstanceState("running", 16)
SHUTTING_DOWN = InstanceState("shutting-down", 32)
ALIVE = {"pending", "running", "stopping", "stopped"}
SESSION_S = 6 * 3600
HANGS = b"#!/bin/sh\necho This machine hangs.\nexec sleep infinity\n"


@dataclass
class Passage:
    """A state that ends: after some looks, or when the hypervisor is done (`looks` None)."""

    looks: int | None
    then: Callable[[], None]


class Machines:
    """All instances of the account, in every region."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._passages: dict[str, Passage] = {}
        self._unseen: dict[str, int] = {}
        self._last: dict[str, threading.Thread] = {}
        self.on_gone: list[Callable[[Instance, str], None]] = []

    def all(self) -> Iterator[Instance]:
        for backend in list(ec2_backends[ACCOUNT].values()):
            for reservation in list(backend.reservations.values()):
                yield from reservation.instances

    def get(self, instance_id: str) -> Instance:
        for instance in self.all():
            if instance.id == instance_id:
                return instance
        message = f"The instance ID '{instance_id}' does not exist"
        raise Refusal("InvalidInstanceID.NotFound", message)

    def begin(self, instance: Instance) -> None:
        """Let a new instance come up."""
        instance._state = InstanceState(PENDING.name, PENDING.code)
        if self._world.knobs.unseen_looks:
            self._unseen[instance.id] = self._world.knobs.unseen_looks
        run = lambda: self._set(instance, RUNNING)  # noqa: E731
        hypervisor = self._world.hypervisor
        if hypervisor is None:
            self._passages[instance.id] = Passage(self._world.knobs.pending_looks, run)
            return
        self._passages[instance.id] = Passage(None, run)
        knobs = self._world.knobs
        boot = replace(boot_of(instance), minute_s=knobs.minute_s)
        if knobs.hangs:
            boot = replace(boot, user_data=HANGS)
        self._in_background(instance, lambda: hypervisor.boot(boot))

    def terminate(self, instance: Instance, code: str = "", message: str = "") -> str:
        """Let an instance go down; return the name of the state that it was in."""
        before = str(instance.state)
        if before not in ALIVE:
            return before
        code = code or "Client.UserInitiatedShutdown"
        message = message or "User initiated shutdown"
        instance._state = InstanceState(SHUTTING_DOWN.name, SHUTTING_DOWN.code)
        instance.state_reason = StateReason(f"{code}: {message}", code)
        end = lambda: self._end(instance, code, message)  # noqa: E731
        hypervisor = self._world.hypervisor
        if hypervisor is None:
            self._passages[instance.id] = Passage(self._world.knobs.stopping_looks, end)
        else:
            self._passages[instance.id] = Passage(None, end)
            self._in_background(instance, lambda: hypervisor.kill(instance.id))
        for tell in self.on_gone:
            tell(instance, code)
        return before

    def interrupt(self, instance_id: str, notice_s: float) -> None:
        """Announce to a spot instance that EC2 wants it back, and take it after the notice."""
        instance = self.get(instance_id)
        if instance.lifecycle != "spot":
            raise ValueError(f"{instance_id} is no spot instance")
        if notice_s <= 0 and self._world.hypervisor is None:
            self._take(instance)
            return
        at = datetime.now(UTC) + timedelta(seconds=notice_s)
        threading.Thread(target=self._reclaim, args=[instance, at], daemon=True).start()

    def _reclaim(self, instance: Instance, at: datetime) -> None:
        if self._world.hypervisor:
            self._await_last(instance.id)
            self._world.hypervisor.notice(instance.id, "terminate", at)
        left = at - datetime.now(UTC)
        time.sleep(max(left.total_seconds(), 0))
        self._take(instance)

    def _take(self, instance: Instance) -> None:
        with self._world.lock:
            self.terminate(instance, "Server.SpotInstanceTermination", "Spot instance termination")

    def shut_down(self, instance_id: str) -> None:
        """Do what the instance is to do when it switches itself off."""
        with self._world.lock:
            instance = self.get(instance_id)
            if instance.instance_initiated_shutdown_behavior == "terminate":
                message = "Instance initiated shutdown"
                self.terminate(instance, "Client.InstanceInitiatedShutdown", message)
            elif instance.state in ALIVE:
                instance.stop()

    def look(self) -> None:
        """Let a while pass."""
        self._unseen = {each: left - 1 for each, left in self._unseen.items() if left >= 0}
        for instance_id, passage in list(self._passages.items()):
            if passage.looks is None:
                continue
            passage.looks -= 1
            if passage.looks < 0:
                del self._passages[instance_id]
                passage.then()

    def is_seen(self, instance_id: str) -> bool:
        """Tell whether descriptions have an instance yet."""
        return self._unseen.get(instance_id, -1) < 0

    def _set(self, instance: Instance, state: InstanceState) -> None:
        instance._state = InstanceState(state.name, state.code)

    def _end(self, instance: Instance, code: str, message: str) -> None:
        instance.terminate()
        instance.state_reason = StateReason(f"{code}: {message}", code)

    def _in_background(self, instance: Instance, act: Callable[[], None]) -> None:
        """Let the hypervisor do one thing after another with an instance: boot it, then kill it."""
        passage = self._passages[instance.id]
        before = self._last.get(instance.id)

        def run() -> None:
            try:
                if before:
                    before.join()
                act()
            except Exception as error:  # noqa: BLE001 - the machine's failure is the instance's
                self._world.problems.append(f"the hypervisor failed: {error!r}")
                passage.looks = 0  # the next look goes on
                return
            with self._world.lock:
                if self._passages.get(instance.id) is passage:
                    del self._passages[instance.id]
                    passage.then()

        self._last[instance.id] = threading.Thread(target=run, daemon=True)
        self._last[instance.id].start()

    def _await_last(self, instance_id: str) -> None:
        if last := self._last.get(instance_id):
            last.join()


def boot_of(instance: Instance) -> Boot:
    """Return what the hypervisor needs to know of an instance."""
    profile = instance.iam_instance_profile
    arn = profile["Arn"] if profile else None
    return Boot(
        instance_id=instance.id,
        address=str(instance.private_ip),
        user_data=base64.b64decode(str(instance.user_data or "")),
        region=instance.region_name,
        zone=str(instance.availability_zone),
        instance_type=instance.instance_type,
        launch_index=instance.ami_launch_index,
        image_id=instance.image_id,
        account=ACCOUNT,
        profile_arn=arn,
        credentials=(lambda: credentials_of(arn, instance.id)) if arn else None,
        spot=instance.lifecycle == "spot",
        tags={tag["key"]: tag["value"] for tag in instance.get_tags()},
    )


def credentials_of(profile_arn: str, instance_id: str) -> RoleCredentials:
    """Return a session of the role of an instance profile, known to moto from now on."""
    name = profile_arn.rpartition("/")[2]
    (role,) = iam_backends[ACCOUNT]["aws"].get_instance_profile(name).roles
    made = sts_backends[ACCOUNT]["aws"].assume_role(
        region_name="us-east-1",
        role_session_name=instance_id,
        role_arn=role.arn,
        policy="",
        duration=SESSION_S,
        external_id=str(uuid.uuid4()),
    )
    expiration = made.expiration.replace(tzinfo=UTC)
    assert expiration > datetime.now(UTC)
    return RoleCredentials(
        role.name, made.access_key_id, made.secret_access_key, made.session_token, expiration
    )
