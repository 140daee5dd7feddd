"""The judge by Google's own schema: that it lets through what is right, and nothing else."""

from __future__ import annotations

import pytest
from tests.rig.discovery import Discovery, discovery

BUCKET = {"name": "bucket", "labels": {"team": "nlp"}, "versioning": {"enabled": True}}


@pytest.fixture
def storage() -> Discovery:
    return discovery("storage.v1")


def request_problems(
    storage: Discovery, verb: str, path: str, query: str = "", body: object = None
) -> list[str]:
    call = storage.find(verb, path)
    assert call
    pairs = [tuple(each.split("=", 1)) for each in query.split("&") if each]
    return storage.request_problems(call, [(name, value) for name, value in pairs], body)


class TestAPath:
    def test_leads_to_its_method(self, storage: Discovery) -> None:
        call = storage.find("GET", "/storage/v1/b/bucket/o/a%2Fb%25")
        assert call
        assert call.id == "storage.objects.get"
        assert call.path == {"bucket": "bucket", "object": "a/b%"}

    @pytest.mark.parametrize(
        ("verb", "path", "id_"),
        [
            ("POST", "/upload/storage/v1/b/bucket/o", "storage.objects.insert"),
            ("GET", "/download/storage/v1/b/bucket/o/a", "storage.objects.get"),
            ("POST", "/storage/v1/b/b/o/a/rewriteTo/b/c/o/d", "storage.objects.rewrite"),
        ],
    )
    def test_of_bytes_leads_to_it_too(
        self, storage: Discovery, verb: str, path: str, id_: str
    ) -> None:
        call = storage.find(verb, path)
        assert call
        assert call.id == id_

    @pytest.mark.parametrize(
        ("verb", "path"),
        [
            ("GET", "/storage/v1/bucket"),
            ("GET", "/storage/v1/b/bucket/o/a/b"),
            ("PATCH", "/storage/v1/b"),
            ("GET", "/storage/v2/b/bucket"),
        ],
    )
    def test_that_is_none_leads_nowhere(self, storage: Discovery, verb: str, path: str) -> None:
        assert storage.find(verb, path) is None

    def test_of_another_api_may_hold_a_resource_name(self) -> None:
        """…with slashes in it, but only one of the right form."""
        call = discovery("tpu.v2").find("GET", "/v2/projects/p/locations/l/nodes/n")
        assert call
        assert call.path == {"name": "projects/p/locations/l/nodes/n"}
        assert discovery("tpu.v2").request_problems(call, [], None) == []


class TestARequest:
    def test_that_is_right_has_no_problems(self, storage: Discovery) -> None:
        assert request_problems(storage, "POST", "/storage/v1/b", "project=p", BUCKET) == []

    @pytest.mark.parametrize(
        "query",
        [
            "",  # without the project
            "project=p&bogus=1",
            "project=p&project=q",
            "project=p&projection=some",
            "project=p&enableObjectRetention=yes",
        ],
    )
    def test_has_the_parameters_of_its_method(self, storage: Discovery, query: str) -> None:
        assert len(request_problems(storage, "POST", "/storage/v1/b", query, BUCKET)) == 1

    @pytest.mark.parametrize("value", ["one", "-1", "4294967296", "1.5"])
    def test_has_numbers_where_they_belong(self, storage: Discovery, value: str) -> None:
        query = f"maxResults={value}"
        assert request_problems(storage, "GET", "/storage/v1/b/bucket/o", query)
        assert not request_problems(storage, "GET", "/storage/v1/b/bucket/o", "maxResults=1")

    @pytest.mark.parametrize(
        "body",
        [
            {},  # without the name
            {**BUCKET, "bogus": 1},
            {**BUCKET, "versioning": {"enabled": "true"}},
            {**BUCKET, "versioning": {"bogus": True}},
            {**BUCKET, "versioning": []},
            {**BUCKET, "labels": {"team": 1}},
            {**BUCKET, "lifecycle": {"rule": {}}},
            {**BUCKET, "lifecycle": {"rule": [{"condition": {"age": "3"}}]}},
            {**BUCKET, "lifecycle": {"rule": [{"condition": {"age": True}}]}},
            {**BUCKET, "lifecycle": {"rule": [{"condition": {"createdBefore": "today"}}]}},
            {**BUCKET, "softDeletePolicy": {"retentionDurationSeconds": "a week"}},
            {**BUCKET, "softDeletePolicy": {"effectiveTime": "2026-01-01"}},
            {**BUCKET, "kind": "storage#object"},
            "bucket",
        ],
    )
    def test_has_a_body_of_the_schema(self, storage: Discovery, body: object) -> None:
        problems = request_problems(storage, "POST", "/storage/v1/b", "project=p", body)
        assert len(problems) == 1
        assert problems[0].startswith("body")

    def test_may_remove_with_null(self, storage: Discovery) -> None:
        body = {"labels": {"team": None}, "lifecycle": None}
        assert request_problems(storage, "PATCH", "/storage/v1/b/bucket", "", body) == []

    def test_brings_no_body_where_none_is_taken(self, storage: Discovery) -> None:
        assert request_problems(storage, "DELETE", "/storage/v1/b/bucket", "", {})


class TestAnAnswer:
    @pytest.mark.parametrize(
        ("body", "is_right"),
        [
            ({"kind": "storage#object", "name": "a", "size": "3"}, True),
            ({"name": "a", "size": 3}, False),
            ({"name": None}, False),
            ({"names": "a"}, False),
            ({"kind": "storage#bucket"}, False),
            ({"timeCreated": "2026-01-01T00:00:00"}, False),
            ({"timeCreated": "2026-01-01T00:00:00Z"}, True),
            ({"generation": "9223372036854775808"}, False),
            ({"componentCount": 2147483648}, False),
            (None, False),
        ],
    )
    def test_is_of_the_schema(self, storage: Discovery, body: object, *, is_right: bool) -> None:
        call = storage.find("GET", "/storage/v1/b/bucket/o/a")
        assert call
        assert (storage.response_problems(call, body) == []) is is_right

    def test_is_empty_where_the_schema_has_none(self, storage: Discovery) -> None:
        call = storage.find("DELETE", "/storage/v1/b/bucket/o/a")
        assert call
        assert storage.response_problems(call, None) == []
        assert storage.response_problems(call, {})
