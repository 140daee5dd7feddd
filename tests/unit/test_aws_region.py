"""Where an S3 bucket lies, as S3 tells anyone who asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.rig.answers import answering

from llmcloud.providers.aws.region import region_of

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


def _telling(status: int, region: str = "") -> AbstractContextManager[str]:
    headers = {"x-amz-bucket-region": region} if region else {}
    return answering(lambda *_: (status, headers, b""))


@pytest.mark.parametrize("status", [200, 301, 403])
def test_a_bucket_tells_its_region_whatever_else_it_answers(status: int) -> None:
    with _telling(status, "eu-west-1") as url:
        assert region_of(f"{url}/bucket") == "eu-west-1"


def test_no_region_is_known_of_a_bucket_that_is_not_there() -> None:
    with _telling(404) as url:
        assert region_of(f"{url}/bucket") is None


def test_no_region_is_known_where_nobody_answers() -> None:
    with _telling(200) as url:
        pass
    assert region_of(f"{url}/bucket") is None
