"""Pieces of logs, and the rule that removes them: nothing else of a job is what the rule names."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from tests.rig.emulators import clients

from llmcloud.core import stores
from llmcloud.runtime import bucket_logs, store
from llmcloud.runtime.bucket_api import LOG_TAG

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.rig.emulators.catalog import Emulator, Emulators
    from tests.rig.stores import StoreRig

    from llmcloud.runtime.objects import ObjectStore

LOG, STATUS, LIKE = "jobs/id/logs/0001/00000/00000000", "jobs/id/status.json", "jobs/logs/a/b"
AT = 1_800_000_000.0


def _s3_marks(emulator: Emulator, name: str) -> dict[str, Any]:
    client = clients.s3_client(emulator)
    found = {
        key: client.get_object_tagging(Bucket=name, Key=key)["TagSet"]
        for key in (each["Key"] for each in client.list_objects_v2(Bucket=name)["Contents"])
    }
    return {key: {each["Key"]: each["Value"] for each in tags} for key, tags in found.items()}


def _gcs_marks(emulator: Emulator, name: str) -> dict[str, Any]:
    found = clients.gcs_client(emulator).list_blobs(name)
    return {each.name: each.custom_time and each.custom_time.timestamp() for each in found}


def _azure_marks(emulator: Emulator, name: str) -> dict[str, Any]:
    container = clients.blob_client(emulator).get_container_client(name.partition("/")[2])
    return {each.name: each.tags for each in container.list_blobs(include=["tags"])}


MARKS: dict[str, tuple[Callable[[Emulator, str], dict[str, Any]], object]] = {
    "s3": (_s3_marks, LOG_TAG),
    "gs": (_gcs_marks, AT),
    "az": (_azure_marks, LOG_TAG),
}


@pytest.mark.parametrize("open_it", [stores.open_store, store.open_store], ids=["here", "node"])
def test_what_a_job_prints_is_marked_and_nothing_else(
    bucket_rig: StoreRig,
    emulators: Emulators,
    tmp_path: Path,
    open_it: Callable[[str], ObjectStore],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """…by who writes it, here or on a node."""
    monkeypatch.setattr(bucket_logs, "time", SimpleNamespace(time=lambda: AT))
    with bucket_rig.empty_store(tmp_path) as made:
        written = open_it(made.url)
        for key in (LOG, STATUS, LIKE):
            written.put(key, b"x")
        scheme, _, name = made.url.partition("://")
        marks, mark = MARKS[scheme]
        found = marks(emulators.get(bucket_rig.emulator), name)
    assert found.pop(LOG) == mark
    assert set(found) == {STATUS, LIKE}
    assert not any(found.values())
