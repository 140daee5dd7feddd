"""The control calls, by which tests change the cloud and look at it: JSON under /_rig/.

GET    requests?since=N        the journal: number, time, service, operation, params, status …
DELETE requests                forget it
GET, POST, DELETE faults       rules, see faults.Rule; POST takes one, or a list
GET    held?timeout_s=S        {number: "held before" or "held after"}, once there is one
POST   held/NUMBER             {"fate": "go" or "drop"}
GET, POST knobs                see world.Knobs
POST, DELETE shortages         see world.Shortage
POST   quotas                  {"region", "code", "value"}
POST   spot-prices             {"region", "instance_type", "usd_per_hour"}
POST   interrupt               {"instance_id", "notice_s"}: a spot instance is taken back
POST   shut-down               {"instance_id"}: the machine switches itself off
POST   expire                  {"key_id"}: a session ends, where IAM is enforced
POST   disabled-regions        [region]: the account may not use them
POST   taken-buckets           [name]: they are somebody else's
POST   look                    {"times"}: let so many whiles pass
POST   agent, agent-said, session   see session_manager
POST   reset                   forget all but the journal, S3 too stays
GET    problems                what the rig was asked and does not do
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tests.rig.aws import answer
from tests.rig.aws.faults import Rule
from tests.rig.aws.world import Shortage

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.rig.aws.cloud import Cloud
    from tests.rig.gcs.server import Request, Response

PREFIX = "/_rig/"


class Control:
    """Answers the control calls of one cloud."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._calls: dict[tuple[str, str], Callable[[Any], Any]] = {
            ("GET", "requests"): lambda said: self._journal(said),
            ("DELETE", "requests"): lambda _: cloud.faults.journal.clear(),
            ("GET", "faults"): lambda _: [asdict(each) for each in cloud.faults.rules],
            ("POST", "faults"): self._add_rules,
            ("DELETE", "faults"): lambda _: cloud.faults.clear(),
            ("GET", "held"): lambda said: cloud.faults.await_held(float(said.get("timeout_s", 0))),
            ("POST", "held"): lambda said: cloud.faults.release(int(said["id"]), said["fate"]),
            ("GET", "knobs"): lambda _: asdict(cloud.world.knobs),
            ("POST", "knobs"): lambda said: cloud.world.knobs.set(said),
            ("POST", "shortages"): self._add_shortages,
            ("DELETE", "shortages"): lambda _: cloud.world.shortages.clear(),
            ("POST", "quotas"): self._set_quota,
            ("POST", "spot-prices"): self._set_price,
            ("POST", "interrupt"): self._interrupt,
            ("POST", "shut-down"): lambda said: cloud.machines.shut_down(said["instance_id"]),
            ("POST", "expire"): lambda said: cloud.world.expired_keys.add(said["key_id"]),
            ("POST", "disabled-regions"): lambda said: cloud.world.disabled_regions.update(said),
            ("POST", "taken-buckets"): lambda said: cloud.world.taken_buckets.update(said),
            ("POST", "look"): self._look,
            ("POST", "agent"): lambda said: cloud.sessions.agent(said),
            ("POST", "agent-said"): lambda said: cloud.sessions.print(said),
            ("POST", "session"): lambda said: cloud.sessions.session(said),
            ("POST", "reset"): lambda _: cloud.reset(),
            ("GET", "problems"): lambda _: cloud.world.problems,
        }

    def answer(self, request: Request) -> Response:
        """Answer one; what is wrong with it is said with 400."""
        name, _, rest = request.path.removeprefix(PREFIX).partition("/")
        call = self._calls.get((request.verb, name))
        if call is None:
            return answer.document({"error": f"no such call: {request.verb} {name}"}, 404)
        body = request.body.read()
        said: Any = dict(request.query) | ({"id": rest} if rest else {})
        try:
            if body:
                parsed = json.loads(body)
                said = parsed if isinstance(parsed, list) else {**said, **parsed}
            return answer.document(call(said))
        except (ValueError, KeyError, TypeError) as error:
            return answer.document({"error": repr(error)}, 400)

    def _journal(self, said: dict[str, str]) -> list[dict[str, Any]]:
        return self._cloud.faults.journal[int(said.get("since", 0)) :]

    def _add_rules(self, said: Any) -> list[int]:
        rules = [Rule(**each) for each in (said if isinstance(said, list) else [said])]
        self._cloud.faults.rules += rules
        return [each.id for each in rules]

    def _add_shortages(self, said: Any) -> None:
        added = [Shortage(**each) for each in (said if isinstance(said, list) else [said])]
        self._cloud.world.shortages += added

    def _set_quota(self, said: dict[str, Any]) -> None:
        self._cloud.world.quotas[said["region"], said["code"]] = float(said["value"])

    def _set_price(self, said: dict[str, Any]) -> None:
        price = float(said["usd_per_hour"])
        self._cloud.world.spot_prices[said["region"], said["instance_type"]] = price

    def _interrupt(self, said: dict[str, Any]) -> None:
        notice_s = float(said.get("notice_s", self._cloud.world.knobs.spot_notice_s))
        with self._cloud.world.lock:
            self._cloud.machines.interrupt(said["instance_id"], notice_s)

    def _look(self, said: dict[str, Any]) -> None:
        with self._cloud.world.lock:
            for _ in range(int(said.get("times", 1))):
                self._cloud.groups.look()
