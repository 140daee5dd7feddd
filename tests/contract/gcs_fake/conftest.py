"""The fake, and the SDKs that the tests speak to it with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.rig.gcs import GcsFake
from tests.rig.gcs.clients import gcs_store, storage_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.cloud.storage import Bucket, Client
    from obstore.store import GCSStore


@pytest.fixture
def fake() -> Iterator[GcsFake]:
    with GcsFake() as fake:
        yield fake


@pytest.fixture
def client(fake: GcsFake) -> Iterator[Client]:
    client = storage_client(fake.url)
    yield client
    client.close()


@pytest.fixture
def bucket(client: Client) -> Bucket:
    return client.create_bucket("bucket")


@pytest.fixture
def store(fake: GcsFake, bucket: Bucket) -> GCSStore:
    return gcs_store(fake.url, bucket.name)
