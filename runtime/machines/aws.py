"""An EC2 instance: what its metadata service tells, and what it asks AWS for with its own role."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from llmcloud.runtime import layout
from llmcloud.runtime.aws_signature import Scope, signed
from llmcloud.runtime.errors import CredentialsError, Unavailable
from llmcloud.runtime.machines import Machine
from llmcloud.runtime.seats import Seats

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from llmcloud.runtime.store import ObjectStore
    from llmcloud.runtime.task import Task

METADATA = "http://169.254.169.254/latest/"
TOKEN_LIFE_S = 21600
TIMEOUT_S = 10.0
TRIES = 8
BROKEN = (OSError, HTTPException)  # what an answer that ends too soon raises is no OSError
AUTO_SCALING_VERSION = "2011-01-01"  # of the service's model
DOMAINS = {"cn-": "amazonaws.com.cn"}


def make(options: argparse.Namespace) -> Machine:
    """Return the instance that this is; `options.group` names what replaces it, if any."""
    return Instance(options.job, options.group or "")


class Instance(Machine):
    """This machine, by its metadata service (IMDSv2)."""

    def __init__(self, job: str, group: str = "") -> None:
        self._job, self._group = job, group
        # No proxy stands between a machine and its metadata.
        self._local = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._token, self._token_until_s = "", 0.0
        self._asking = threading.Lock()
        self._seats: tuple[Seats, int] | None = None

    @property
    def host(self) -> str:
        return self._metadata("local-ipv4")

    def rank(self, store: ObjectStore, task: Task) -> int:
        if not self._group:
            return int(self._metadata("ami-launch-index"))
        seats = Seats(store, task.job, task.nodes, self._metadata("instance-id"))
        rank = seats.claim()
        if rank is None:
            return task.nodes  # a replacement that came when all was over
        self._seats = seats, rank
        return rank

    def secrets(self, task: Task) -> Mapping[str, str]:
        if not task.secrets:
            return {}
        found: dict[str, str] = {}
        for each in self._parameters(layout.secrets(self._job)):
            found[each["Name"].rpartition("/")[2]] = each["Value"]
        missing = [name for name in task.secrets if name not in found]
        if missing:
            raise CredentialsError(
                f"The parameter store does not have {', '.join(missing)}.",
                where=layout.secrets(self._job),
                fix="Submit or resume the job with them in the environment.",
            )
        return found

    def is_leaving(self) -> bool:
        return bool(self._metadata("spot/instance-action", default=""))

    def give_up(self) -> None:
        if self._seats:
            seats, rank = self._seats
            seats.give_up(rank)

    def retire(self, *, last: bool) -> None:
        if not self._group:
            return
        if last:
            asked = {
                "Action": "DeleteAutoScalingGroup",
                "AutoScalingGroupName": self._group,
                "ForceDelete": "true",
            }
        else:
            asked = {
                "Action": "TerminateInstanceInAutoScalingGroup",
                "InstanceId": self._metadata("instance-id"),
                "ShouldDecrementDesiredCapacity": "true",
            }
        body = urlencode({**asked, "Version": AUTO_SCALING_VERSION})
        form = "application/x-www-form-urlencoded; charset=utf-8"
        self._ask("autoscaling", body.encode(), {"content-type": form})

    def _parameters(self, path: str) -> Iterator[dict[str, str]]:
        asked: dict[str, Any] = {"Path": path, "WithDecryption": True}
        headers = {
            "content-type": "application/x-amz-json-1.1",
            "x-amz-target": "AmazonSSM.GetParametersByPath",
        }
        while True:
            answer = json.loads(self._ask("ssm", json.dumps(asked).encode(), headers))
            yield from answer.get("Parameters", ())
            if not answer.get("NextToken"):
                return
            asked["NextToken"] = answer["NextToken"]

    def _ask(self, service: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        """Make a request to a service of this region, until it is answered."""
        region = self._region()
        host = f"{service}.{region}.{DOMAINS.get(region[:3], 'amazonaws.com')}"
        scope = Scope(region, service, hashlib.sha256(body).hexdigest())
        for number in range(TRIES):
            own = signed("POST\n/\n", host, headers, self._keys(), scope)
            request = urllib.request.Request(f"https://{host}/", body, own)
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT_S) as found:  # noqa: S310
                    return bytes(found.read())
            except urllib.error.HTTPError as refusal:
                with refusal:
                    if refusal.code < 500 and not _is_throttled(refusal):
                        raise Unavailable(
                            f"{service} refused the request: HTTP {refusal.code}.", where=host
                        ) from refusal
                problem: Exception = refusal
            except BROKEN as error:
                problem = error
            time.sleep(min(2.0**number, 20.0))
        raise Unavailable(f"{service} did not answer: {problem}.", where=host) from problem

    def _region(self) -> str:
        return self._metadata("placement/region")

    def _keys(self) -> dict[str, str]:
        """Return what the role of this machine is known by now, as obstore names it."""
        role = self._metadata("iam/security-credentials/").split()[0]
        found = json.loads(self._metadata(f"iam/security-credentials/{role}"))
        return {
            "access_key_id": found["AccessKeyId"],
            "secret_access_key": found["SecretAccessKey"],
            "token": found["Token"],
        }

    def _metadata(self, path: str, default: str | None = None) -> str:
        """Return an entry of the metadata, or the default where there is none."""
        for number in range(TRIES):
            try:
                return self._get(path)
            except urllib.error.HTTPError as refusal:
                with refusal:
                    if refusal.code == 404 and default is not None:
                        return default
                    if refusal.code == 401:
                        self._token = ""
                problem: Exception = refusal
            except BROKEN as error:
                problem = error
            if default is not None:
                return default  # asked again and again anyway
            time.sleep(min(0.2 * 2.0**number, 5.0))
        raise Unavailable(
            f"The metadata service did not answer: {problem}.", where=METADATA + path
        ) from problem

    def _get(self, path: str) -> str:
        with self._asking:
            if not self._token or time.monotonic() > self._token_until_s:
                life = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_LIFE_S)}
                url = f"{METADATA}api/token"
                asked = urllib.request.Request(url, headers=life, method="PUT")  # noqa: S310
                with self._local.open(asked, timeout=TIMEOUT_S) as found:
                    self._token = found.read().decode()
                self._token_until_s = time.monotonic() + TOKEN_LIFE_S / 2
        headers = {"X-aws-ec2-metadata-token": self._token}
        request = urllib.request.Request(f"{METADATA}meta-data/{path}", headers=headers)  # noqa: S310
        with self._local.open(request, timeout=TIMEOUT_S) as found:
            return str(found.read().decode())


def _is_throttled(refusal: urllib.error.HTTPError) -> bool:
    with contextlib.suppress(OSError):
        return refusal.code == 429 or b"Throttling" in refusal.read(4096)
    return False
