"""Where everything lies in a store. The one place that knows; both sides of the wire use it.

    code/SHA256.tar.zst                     a code folder, by the digest of its tree; shared by jobs
    code/SHA256.pyz                         the node's runtime
    data/SHA256/…                           what a submit uploaded, by the digest of its tree
    digests/PREFIX/index.json               what a push wrote under a prefix: sizes, times, digests
    names/NAME.json                         which job a name stands for
    jobs/ID/job.json                        the job as submitted; written once
    jobs/ID/status.json                     the state machine; conditional writes only
    jobs/ID/journal/NNNN-KIND-NAME.json     intent, created, deleted: one a cloud resource
    jobs/ID/seats/RANK.json                 which machine is this node, where machines come and go
    jobs/ID/boot/MACHINE.log                why a machine could not start its node
    jobs/ID/nodes/ATTEMPT/RANK.json         a node's heartbeat, address and end
    jobs/ID/logs/ATTEMPT/RANK/SEQ           segments that only grow
    jobs/ID/metrics/ATTEMPT/RANK/SEQ        JSON lines, segments that only grow
    jobs/ID/checkpoints/STEP/…  + COMPLETE  a checkpoint exists only with its COMPLETE manifest
    jobs/ID/checkpoints/STEP/.parts/RANK.json  what another node than the first has of it
    jobs/ID/checkpoints/.wanted/ATTEMPT     which step the first node asks the others for
    jobs/ID/checkpoints/.done/ATTEMPT/RANK  a node that will announce no more checkpoints
    jobs/ID/outputs/RANK/…
    jobs/ID/control/cancel                  what the command line asks of the nodes

Numbers are zero-padded so that a listing is in their order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

COMPLETE = "COMPLETE"
SEQ_DIGITS = 8
STEP_DIGITS = 10
ATTEMPT_DIGITS = 4
RANK_DIGITS = 5


def code(digest: str) -> str:
    """Return the key of a code archive; `digest` is that of the tree that it holds."""
    return f"code/{digest}.tar.zst"


def runtime(digest: str) -> str:
    """Return the key of the node runtime, a zip that Python runs."""
    return f"code/{digest}.pyz"


def data(digest: str) -> str:
    """Return the prefix of an uploaded data tree."""
    return f"data/{digest}/"


def digests(prefix: str) -> str:
    """Return the key that keeps the sizes, times and digests of what lies under a prefix.

    It lies beside the data, not in it: what was pushed is all that a listing shows.
    """
    return f"digests/{prefix.rstrip('/')}/index.json"


def name(job_name: str) -> str:
    """Return the key that says which job a name stands for."""
    return f"names/{job_name}.json"


def job(job_id: str) -> str:
    """Return the prefix under which all of a job lies."""
    return f"jobs/{job_id}/"


def job_document(job_id: str) -> str:
    """Return the key of the job as submitted."""
    return f"jobs/{job_id}/job.json"


def status(job_id: str) -> str:
    """Return the key of the job's state."""
    return f"jobs/{job_id}/status.json"


def journal(job_id: str, number: int, kind: str, resource: str) -> str:
    """Return the key of one journal entry."""
    return f"jobs/{job_id}/journal/{number:04d}-{kind}-{resource}.json"


def journals(job_id: str) -> str:
    """Return the prefix of the journal."""
    return f"jobs/{job_id}/journal/"


def node(job_id: str, attempt: int, rank: int) -> str:
    """Return the key of a node's heartbeat."""
    return f"{nodes(job_id, attempt)}{rank:0{RANK_DIGITS}d}.json"


def nodes(job_id: str, attempt: int) -> str:
    """Return the prefix of an attempt's heartbeats."""
    return f"jobs/{job_id}/nodes/{attempt:0{ATTEMPT_DIGITS}d}/"


def seats(job_id: str) -> str:
    """Return the prefix of the places of a job's nodes."""
    return f"jobs/{job_id}/seats/"


def seat(job_id: str, rank: int) -> str:
    """Return the key of the place that a machine takes as a node."""
    return f"{seats(job_id)}{rank:0{RANK_DIGITS}d}.json"


def boots(job_id: str) -> str:
    """Return the prefix of what machines say that could not start their node."""
    return f"jobs/{job_id}/boot/"


def secrets(job_id: str) -> str:
    """Return the path of a job's secrets in a cloud's secret store."""
    return f"/llmcloud/{job_id}"


def stream(job_id: str, kind: str, attempt: int, rank: int) -> str:
    """Return the prefix of one node's segments; `kind` is `logs` or `metrics`."""
    return f"{streams(job_id, kind)}{attempt:0{ATTEMPT_DIGITS}d}/{rank:0{RANK_DIGITS}d}/"


def streams(job_id: str, kind: str) -> str:
    """Return the prefix of all segments of a kind."""
    return f"jobs/{job_id}/{kind}/"


def is_log(key: str) -> bool:
    """Tell whether an object is a piece of a job's log."""
    top, _, rest = key.partition("/")
    return top == "jobs" and rest.partition("/")[2].startswith("logs/")


def numbers(names: Iterable[str]) -> list[int]:
    """Return the numbers that names stand for; what is none is nothing that we wrote."""
    return [int(name) for name in names if name.isascii() and name.isdigit()]


def segment(stream_prefix: str, seq: int) -> str:
    """Return the key of one segment of a stream; `seq` counts from 0."""
    return f"{stream_prefix}{seq:0{SEQ_DIGITS}d}"


def checkpoints(job_id: str) -> str:
    """Return the prefix of all checkpoints."""
    return f"jobs/{job_id}/checkpoints/"


def checkpoint(job_id: str, step: int) -> str:
    """Return the prefix of one checkpoint."""
    return f"{checkpoints(job_id)}{step:0{STEP_DIGITS}d}/"


def checkpoint_complete(job_id: str, step: int) -> str:
    """Return the key of the manifest that makes a checkpoint one."""
    return checkpoint(job_id, step) + COMPLETE


def checkpoint_parts(job_id: str, step: int) -> str:
    """Return the prefix of the lists of files that other nodes add to one checkpoint."""
    return checkpoint(job_id, step) + ".parts/"


def checkpoint_part(job_id: str, step: int, rank: int) -> str:
    """Return the key of the list of files that one node adds to a checkpoint."""
    return f"{checkpoint_parts(job_id, step)}{rank:0{RANK_DIGITS}d}.json"


def checkpoint_wanted(job_id: str, attempt: int) -> str:
    """Return the key by which the first node asks the others for their files of a checkpoint."""
    return f"{checkpoints(job_id)}.wanted/{attempt:0{ATTEMPT_DIGITS}d}"


def checkpoints_done(job_id: str, attempt: int, rank: int) -> str:
    """Return the key by which a node says that it has added all that it will."""
    return f"{checkpoints(job_id)}.done/{attempt:0{ATTEMPT_DIGITS}d}/{rank:0{RANK_DIGITS}d}"


def outputs(job_id: str, rank: int | None = None) -> str:
    """Return the prefix of a job's outputs, or of one node's."""
    return f"jobs/{job_id}/outputs/" + ("" if rank is None else f"{rank:0{RANK_DIGITS}d}/")


def cancel(job_id: str) -> str:
    """Return the key whose presence asks the nodes to stop."""
    return f"jobs/{job_id}/control/cancel"
