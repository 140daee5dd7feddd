"""The Instance Metadata Service, version 2 only: callers are told apart by their address.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-categories.html
"""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import secrets
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Mapping

    from tests.rig.aws.machine import Boot, RoleCredentials

TOKEN = "/latest/api/token"
TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"
TOKEN_HEADER = "X-aws-ec2-metadata-token"
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


@contextlib.contextmanager
def serving(listener: socket.socket, machines: Mapping[str, Metadata]) -> Iterator[None]:
    """Answer on a socket, for as long as the block; `machines` are found by their address."""
    server = _Server(listener, machines)
    worker = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    worker.start()
    try:
        yield
    finally:
        server.shutdown()
        worker.join()
        server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    def __init__(self, listener: socket.socket, machines: Mapping[str, Metadata]) -> None:
        super().__init__(listener.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.machines = machines


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30  # a machine that is killed closes no connection
    server: _Server

    def do_PUT(self) -> None:
        machine = self._machine()
        ttl = self.headers.get(TTL_HEADER, "")
        if self.path != TOKEN or machine is None:
            self._answer(HTTPStatus.NOT_FOUND)
        elif "X-Forwarded-For" in self.headers:
            self._answer(HTTPStatus.FORBIDDEN)
        elif not ttl.isdecimal() or not 1 <= int(ttl) <= LONGEST_TTL_S:
            self._answer(HTTPStatus.BAD_REQUEST)
        else:
            self._answer(HTTPStatus.OK, machine.issue(int(ttl)).encode(), {TTL_HEADER: ttl})

    def do_GET(self) -> None:
        machine = self._machine()
        if machine is None:
            self._answer(HTTPStatus.NOT_FOUND)
        elif not machine.is_valid(self.headers.get(TOKEN_HEADER)):
            self._answer(HTTPStatus.UNAUTHORIZED)
        elif self.path.strip("/") == "":
            self._answer(HTTPStatus.OK, f"{OLDEST}\nlatest".encode())
        elif (matched := VERSION.fullmatch(self.path)) and (found := machine.find(matched[1])):
            self._answer(HTTPStatus.OK, found)
        else:
            self._answer(HTTPStatus.NOT_FOUND)

    def _machine(self) -> Metadata | None:
        return self.server.machines.get(self.client_address[0])

    def _answer(
        self, status: HTTPStatus, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
