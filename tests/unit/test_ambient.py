"""A bucket as a node reaches it."""

from __future__ import annotations

import pytest

from llmcloud.runtime.errors import InvalidRequest
from llmcloud.runtime.store import open_store

ACCOUNT = "az://llmcloudtests/box"


@pytest.fixture(autouse=True)
def _azure(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "AccountName=llmcloudtests;AccountKey=a2V5;BlobEndpoint=http://127.0.0.1:1/llmcloudtests"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", said)


def test_a_name_that_azure_would_change_is_refused_on_a_node_too() -> None:
    with pytest.raises(InvalidRequest, match="backslash"):
        open_store(ACCOUNT).put("a\\b", b"")


@pytest.mark.parametrize(
    "url",
    [
        "az://llmcloudtests",
        "s3://",
        "s3://bucket/prefix",
        "s3://a b",
        "az://Acct/box",
        "s3://xn--a",
        "gs://a.xn--b",
    ],
)
def test_what_is_no_whole_bucket_is_no_store(url: str) -> None:
    with pytest.raises(InvalidRequest):
        open_store(url)
