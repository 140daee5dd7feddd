"""The Instance Metadata Service, version 2 only: callers are told apart by their address.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-categories.html
"""

from __future__ import annotations

import json
import re
import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING

from tests.rig.gcs.server import Response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.rig.aws.machine import Boot, RoleCredentials
    from tests.rig.gcs.server import Request

TOKEN = "/latest/api/token"
TTL_HEADER = "x-aws-ec2-metadata-token-ttl-seconds"
TOKEN_HEADER = "x-aws-ec2-metadata-token"
LONGEST_TTL_S = 21_600
VERSION = re.compile(r"/(?:latest|\d{4}-\d\d-\d\d)/(.*)")
RENEWAL = timedelta(minutes=5)
OLDEST = "2021-03-23"  # a version that clients ask for by its date


@dataclass
class Metadata:
    """What IMDS knows of one instance; `events` come later: a spot notice and the like."""

    boot: Boot
    held: RoleCredentials | None = None
    events: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, float] = field(default_factory=dict)  # and until when each is valid
    booted: str = field(default_factory=lambda: instant(datetime.now(UTC)))

    def issue(self, ttl_s: int) -> str:
        token = secrets.token_urlsafe(40)
        self.tokens[token] = time.monotonic() + ttl_s
        return token

    def is_valid(self, token: str | None) -> bool:
        return token is not None and self.tokens.get(token, 0) > time.monotonic()

    def notify(self, action: str, when: datetime) -> None:
        """Announce an interruption, and that it is wise to leave."""
        self.events["spot/instance-action"] = json.dumps({"action": action, "time": instant(when)})
        if action == "terminate":
            self.events["spot/termination-time"] = instant(when)
        noticed = {"noticeTime": instant(datetime.now(UTC))}
        self.events["events/recommendations/rebalance"] = json.dumps(noticed)

    def find(self, path: str) -> bytes | None:
        """Return what is at a path behind the version, a folder's list, or None."""
        if path == "user-data":
            return self.boot.user_data or None
        leaves = self._leaves(path)
        if path in leaves:
            return leaves[path].encode()
        prefix = f"{path.rstrip('/')}/".lstrip("/")
        below = {name.removeprefix(prefix) for name in leaves if name.startswith(prefix)}
        names = sorted({f"{name}/" if rest else name for name, rest in map(_split, below)})
        return "\n".join(names).encode() or None

    def _leaves(self, path: str) -> dict[str, str]:
        role: dict[str, str] = {}
        if self.boot.profile_arn:  # making credentials is left to who asks for them
            is_asked = path.startswith("meta-data/iam")
            role = self._role(self.boot.profile_arn) if is_asked else {"iam/info": ""}
        found = {**_described(self.boot), **self.events, **_tagged(self.boot), **role}
        return {
            **{f"meta-data/{name}": value for name, value in found.items()},
            "dynamic/instance-identity/document": _document(self.boot, self.booted),
        }

    def _role(self, profile_arn: str) -> dict[str, str]:
        held = self._credentials()
        common = {"Code": "Success", "LastUpdated": instant(datetime.now(UTC))}
        info = {**common, "InstanceProfileArn": profile_arn, "InstanceProfileId": "AIPARIG"}
        keys = {
            **common,
            "Type": "AWS-HMAC",
            "AccessKeyId": held.access_key_id,
            "SecretAccessKey": held.secret_access_key,
            "Token": held.session_token,
            "Expiration": instant(held.expiration),
        }
        return {
            "iam/info": json.dumps(info, indent=2),
            f"iam/security-credentials/{held.role}": json.dumps(keys, indent=2),
        }

    def _credentials(self) -> RoleCredentials:
        """Return the same ones until they are about to expire."""
        soon = datetime.now(UTC) + RENEWAL
        if self.held is None or self.held.expiration < soon:
            assert self.boot.credentials is not None
            self.held = self.boot.credentials()
        return self.held


def host_name(boot: Boot) -> str:
    """Return the private DNS name of an instance."""
    zone = "ec2" if boot.region == "us-east-1" else f"{boot.region}.compute"
    return f"ip-{boot.address.replace('.', '-')}.{zone}.internal"


def instant(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _described(boot: Boot) -> dict[str, str]:
    return {
        "ami-id": boot.image_id,
        "ami-launch-index": str(boot.launch_index),
        "hostname": host_name(boot),
        "instance-action": "none",
        "instance-id": boot.instance_id,
        "instance-life-cycle": "spot" if boot.spot else "on-demand",
        "instance-type": boot.instance_type,
        "local-hostname": host_name(boot),
        "local-ipv4": boot.address,
        "placement/availability-zone": boot.zone,
        "placement/region": boot.region,
        "services/domain": "amazonaws.com",
        "services/partition": "aws",
    }


def _tagged(boot: Boot) -> dict[str, str]:
    return {f"tags/instance/{name}": value for name, value in boot.tags.items()}


def _document(boot: Boot, booted: str) -> str:
    known = {
        "accountId": boot.account,
        "architecture": "x86_64",
        "availabilityZone": boot.zone,
        "imageId": boot.image_id,
        "instanceId": boot.instance_id,
        "instanceType": boot.instance_type,
        "pendingTime": booted,
        "privateIp": boot.address,
        "region": boot.region,
        "version": "2017-09-30",
    }
    return json.dumps(known, indent=2)


def _split(name: str) -> tuple[str, str]:
    first, _, rest = name.partition("/")
    return first, rest


@dataclass(frozen=True)
class Service:
    """Answers the machines that there are, which are known by their addresses."""

    machines: Mapping[str, Metadata]

    def answer(self, request: Request) -> Response:
        machine = self.machines.get(request.client)
        if machine is None:
            return Response(HTTPStatus.NOT_FOUND)
        if request.verb == "PUT":
            return _issued(machine, request)
        if not machine.is_valid(request.headers.get(TOKEN_HEADER)):
            return Response(HTTPStatus.UNAUTHORIZED)
        if request.path.strip("/") == "":
            return _text(f"{OLDEST}\nlatest".encode())
        if (matched := VERSION.fullmatch(request.path)) and (found := machine.find(matched[1])):
            return _text(found)
        return Response(HTTPStatus.NOT_FOUND)


def _issued(machine: Metadata, request: Request) -> Response:
    """Answer the request for a token."""
    ttl = request.headers.get(TTL_HEADER, "")
    if request.path != TOKEN:
        return Response(HTTPStatus.NOT_FOUND)
    if "x-forwarded-for" in request.headers:
        return Response(HTTPStatus.FORBIDDEN)
    if not ttl.isdecimal() or not 1 <= int(ttl) <= LONGEST_TTL_S:
        return Response(HTTPStatus.BAD_REQUEST)
    return _text(machine.issue(int(ttl)).encode(), {TTL_HEADER: ttl})


def _text(body: bytes, headers: Mapping[str, str] = MappingProxyType({})) -> Response:
    return Response(headers={"Content-Type": "text/plain", **headers}, chunks=[body])
