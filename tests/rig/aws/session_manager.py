"""Session Manager: agents that report for their machines, and commands that they run.

The API's part is as AWS has it. What the plugin and the agent say to each other is not: here both
post JSON to the control calls `session` and `agent`, and what is printed goes through this process.
"""

from __future__ import annotations

import base64
import secrets
import threading
import uuid
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from moto.ec2.models import ec2_backends
from moto.iam.models import iam_backends
from tests.rig.aws import access, policy
from tests.rig.aws.account import ACCOUNT
from tests.rig.aws.call import Refusal
from tests.rig.aws.policy import Asked
from tests.rig.aws.resources import SHELL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from moto.ec2.models.instances import Instance
    from tests.rig.aws.call import Call
    from tests.rig.aws.machines import Machines
    from tests.rig.aws.world import World

LONGEST_POLL_S = 5.0
# What the agent does, and what a session's document is given.
NEEDED = (
    "ssm:UpdateInstanceInformation",
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
)
COMMANDS = {"AWS-StartInteractiveCommand", "AWS-StartNonInteractiveCommand"}


@dataclass
class Session:
    """A command on a machine: what it has printed and the plugin has not yet fetched."""

    target: str
    command: str
    id: str
    token: str = field(default_factory=lambda: secrets.token_urlsafe(99))
    output: deque[bytes] = field(default_factory=deque)
    is_over: bool = False


class SessionManager:
    """The agents and the sessions of one account."""

    def __init__(self, world: World, machines: Machines) -> None:
        self._world, self._machines = world, machines
        self._online: set[str] = set()
        self._sessions: list[Session] = []
        self._wanted: dict[str, deque[Session]] = {}
        self._changed = threading.Condition()

    def operations(self) -> Mapping[str, Callable[[Call], Any]]:
        return {
            "DescribeInstanceInformation": self.describe,
            "StartSession": self.start,
            "TerminateSession": self.terminate,
        }

    def describe(self, call: Call) -> Any:
        """Describe the machines whose agents have reported, by their ids."""
        filters = {each["Key"]: each["Values"] for each in call.params.get("Filters", [])}
        named = filters.get("InstanceIds")
        found = [
            {
                "InstanceId": each.id,
                "PingStatus": "Online",
                "LastPingDateTime": datetime.now(UTC),
                "AgentVersion": "3.3.3050.0",
                "PlatformType": "Linux",
                "ResourceType": "EC2Instance",
            }
            for each in self._machines.all()
            if each.region_name == call.region
            and (named is None or each.id in named)
            and self._is_online(each)
        ]
        return {"InstanceInformationList": found}

    def start(self, call: Call) -> Any:
        """Begin a session with a machine that is online."""
        target = call.params["Target"]
        document = call.params.get("DocumentName", SHELL)
        words = call.params.get("Parameters", {}).get("command", [])
        if document not in {SHELL, *COMMANDS}:
            raise Refusal("InvalidDocument", f"Document with name {document} does not exist.", 400)
        if len(words) != (document in COMMANDS):
            raise Refusal("InvalidParameters", "The parameter command is one text.", 400)
        instance = next((each for each in self._machines.all() if each.id == target), None)
        if instance is None or not self._is_online(instance):
            raise Refusal("TargetNotConnected", f"{target} is not connected.", 400)
        by = access.principal_of(call)
        session = Session(target, words[0] if words else "", f"{by.name}-{uuid.uuid4().hex[:17]}")
        tags = ec2_backends[ACCOUNT][call.region].tags  # for IAM's conditions
        tags[session.id]["aws:ssmmessages:session-id"] = by.id
        with self._changed:
            self._sessions.append(session)
            self._wanted.setdefault(target, deque()).append(session)
            self._changed.notify_all()
        host = f"ssmmessages.{call.region}.amazonaws.com"
        url = f"wss://{host}/v1/data-channel/{session.id}?role=publish_subscribe"
        return {"SessionId": session.id, "TokenValue": session.token, "StreamUrl": url}

    def terminate(self, call: Call) -> Any:
        return {"SessionId": call.params["SessionId"]}

    def agent(self, said: dict[str, Any]) -> Any:
        """Report for a machine, and return what it is to run next, after a while nothing."""
        instance = self._machines.get(said["instance_id"])
        if not _may_report(instance):
            raise ValueError(f"the role of {instance.id} does not let its agent report")
        with self._changed:
            self._online.add(instance.id)
            wanted = self._wanted.setdefault(instance.id, deque())
            self._changed.wait_for(lambda: wanted, LONGEST_POLL_S)
            if not wanted:
                return {}
            session = wanted.popleft()
            return {"session": session.id, "command": session.command}

    def print(self, said: dict[str, Any]) -> Any:
        """Take what a command has printed, and whether it is over."""
        with self._changed:
            session = next(each for each in self._sessions if each.id == said["session"])
            session.output.append(base64.b64decode(said["output"]))
            session.is_over = said["is_over"]
            self._changed.notify_all()

    def session(self, said: dict[str, Any]) -> Any:
        """Return what a session has printed since, for the plugin that has its token."""
        with self._changed:
            session = next((each for each in self._sessions if each.token == said["token"]), None)
            if session is None:
                raise ValueError("no session has this token")
            self._changed.wait_for(lambda: session.output or session.is_over, LONGEST_POLL_S)
            output = b"".join(session.output)
            session.output.clear()
            encoded = base64.b64encode(output).decode()
            return {"output": encoded, "is_over": session.is_over}

    def _is_online(self, instance: Instance) -> bool:
        """Tell whether an agent has reported; a machine that only pretends has one that would."""
        has = self._world.hypervisor is None or instance.id in self._online
        return instance.state == "running" and has and _may_report(instance)


def _may_report(instance: Instance) -> bool:
    profile = instance.iam_instance_profile
    if not profile:
        return False
    name = profile["Arn"].rpartition("/")[2]
    for role in iam_backends[ACCOUNT]["aws"].get_instance_profile(name).roles:
        documents = access.documents_of(role.arn)
        return all(policy.decide(documents, Asked(each, "*", {})) == "allowed" for each in NEEDED)
    return False
