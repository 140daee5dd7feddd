"""Buckets from the command line, in the S3 that others wrote."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.rig.emulators.clients import s3_client

if TYPE_CHECKING:
    from tests.e2e.conftest import Bench
    from tests.rig.emulators.catalog import Emulator, Emulators

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def s3(bench: Bench, emulators: Emulators) -> Emulator:
    found = emulators.get("ministack")
    bench.environ.update(found.environ)
    return found


@pytest.fixture
def name() -> str:
    return f"llmcloud-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def url(name: str) -> str:
    return f"s3://{name}"


def _panel(text: str, name: str) -> str:
    return text.replace(name, "NAME")


@pytest.mark.usefixtures("s3")
def test_a_bucket_is_made_listed_and_deleted(bench: Bench, url: str) -> None:
    options = ("--region", "eu-west-1", "--versioning", "--tag", "team=nlp", "--json")
    made = bench.cli("buckets", "create", url, *options)
    assert made.code == 0, made.err
    expected = {
        "url": url,
        "region": "eu-west-1",
        "created_at": None,
        "ours": True,
        "private": True,
        "encrypted": True,
        "versioning": True,
        "tags": {"llmcloud": "1", "team": "nlp"},
    }
    assert made.document == expected
    listed = bench.cli("buckets", "list", "s3://", "--json").document
    (found,) = [each for each in listed if each["url"] == url]
    assert found.pop("created_at")
    assert found == {key: value for key, value in expected.items() if key != "created_at"}
    assert url in bench.cli("buckets", "list", "s3://").out
    deleted = bench.cli("buckets", "delete", url, "--json")
    assert deleted.document == {"deleted": url, "objects": 0}
    assert f"To be deleted: {url} in eu-west-1 with nothing in it." in deleted.err
    assert bench.cli("buckets", "delete", url).code == 9


def test_rules_are_added_to_those_that_others_made(
    bench: Bench, s3: Emulator, name: str, url: str
) -> None:
    """…and replace our own from before."""
    assert bench.cli("buckets", "create", url, "--expire-logs", "30").code == 0
    client = s3_client(s3)
    theirs = {"ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}}
    theirs |= {"Expiration": {"Days": 1}}
    rules = client.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    client.put_bucket_lifecycle_configuration(
        Bucket=name, LifecycleConfiguration={"Rules": [*rules, theirs]}
    )
    done = bench.cli("buckets", "create", url, "--expire-logs", "10", "--abort-uploads", "2")
    assert done.code == 0, done.err
    rules = {
        rule["ID"]: rule for rule in client.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    }
    assert set(rules) == {"theirs", "llmcloud-abort-uploads", "llmcloud-expire-logs"}
    uploads = rules["llmcloud-abort-uploads"]["AbortIncompleteMultipartUpload"]
    assert uploads == {"DaysAfterInitiation": 2}
    assert rules["llmcloud-expire-logs"]["Expiration"]["Days"] == 10


def test_a_rule_for_logs_finds_them_by_their_tag(bench: Bench, s3: Emulator, name: str) -> None:
    """…and nothing else of a job."""
    client = s3_client(s3)
    client.create_bucket(Bucket=name)
    log, other = "jobs/one/logs/0001/00000/00000000", "jobs/logs/status.json"
    program = (
        "import sys; from llmcloud.core.stores import open_store;"
        "store = open_store(sys.argv[1]); [store.put(key, b'') for key in sys.argv[2:]]"
    )
    subprocess.run(
        [sys.executable, "-c", program, f"s3://{name}", log, other], env=bench.environ, check=True
    )
    tags = [client.get_object_tagging(Bucket=name, Key=key)["TagSet"] for key in (log, other)]
    assert tags == [[{"Key": "llmcloud", "Value": "log"}], []]
    assert bench.cli("buckets", "create", f"s3://{name}-2", "--expire-logs", "30").code == 0
    rules = client.get_bucket_lifecycle_configuration(Bucket=f"{name}-2")["Rules"]
    (rule,) = [each for each in rules if each["ID"] == "llmcloud-expire-logs"]
    found = rule["Filter"]["And"]
    assert (found["Prefix"], found["Tags"]) == ("jobs/", tags[0])


def test_a_bucket_that_holds_something_is_deleted_by_force_only(
    bench: Bench, s3: Emulator, name: str, url: str
) -> None:
    bench.cli("buckets", "create", url, "--versioning")
    client = s3_client(s3)
    for text in (b"old", b"new"):
        client.put_object(Bucket=name, Key="a", Body=text)
    done = bench.cli("buckets", "delete", url, "--yes")
    assert (done.code, done.out) == (6, "")
    assert _panel(done.err, name) == (GOLDEN / "bucket-not-empty.txt").read_text()
    done = bench.cli("buckets", "delete", url, "--force", "--json")
    assert done.document == {"deleted": url, "objects": 2}
    assert "with 1 object (3 B)" in done.err


def test_a_bucket_that_is_not_ours_is_deleted_with_yes_only(
    bench: Bench, s3: Emulator, name: str, url: str
) -> None:
    client = s3_client(s3)
    client.create_bucket(Bucket=name)
    done = bench.cli("buckets", "create", url)
    assert done.code == 6
    assert _panel(done.err, name) == (GOLDEN / "bucket-not-ours.txt").read_text()
    assert bench.cli("buckets", "delete", url).code == 2
    assert client.head_bucket(Bucket=name)
    assert bench.cli("buckets", "delete", url, "--yes").code == 0
    assert bench.cli("buckets", "delete", url, "--yes").code == 9


@pytest.mark.usefixtures("s3")
def test_a_bucket_does_not_move(bench: Bench, name: str, url: str) -> None:
    bench.cli("buckets", "create", url, "--region", "eu-west-1")
    done = bench.cli("buckets", "create", url, "--region", "us-west-2")
    assert done.code == 6
    assert _panel(done.err, name) == (GOLDEN / "bucket-elsewhere.txt").read_text()


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "bucket"),
        ("create", "file:///tmp/bucket"),
        ("create", "s3://"),
        ("create", "s3://bucket/key"),
        ("create", "s3://bucket", "--tag", "team"),
        ("create", "s3://bucket", "--tag", "llmcloud=no"),
        ("create", "s3://bucket", "--expire-logs", "0"),
        ("list", "ftp://"),
        ("delete", "az://account"),
    ],
)
def test_what_names_no_bucket_is_a_wrong_use(bench: Bench, arguments: tuple[str, ...]) -> None:
    done = bench.cli("buckets", *arguments)
    assert (done.code, done.out, "Traceback" in done.err) == (2, "", False)


@pytest.mark.usefixtures("s3")
def test_a_missing_bucket_ends_with_9_whoever_asks(bench: Bench, url: str) -> None:
    (bench.root / "a").write_text("x")
    for command in (
        ("buckets", "delete", url),
        ("data", "list", url),
        ("data", "push", "a", url),
        ("data", "pull", url, "here"),
        ("data", "remove", url, "--yes"),
    ):
        done = bench.cli(*command)
        assert (done.code, "There is no such bucket" in done.err) == (9, True), (command, done.err)


@pytest.mark.usefixtures("s3")
def test_a_name_that_the_service_never_takes_is_a_wrong_use(bench: Bench) -> None:
    done = bench.cli("buckets", "create", "s3://Not_A_Bucket")
    assert (done.code, done.out) == (2, "")
    assert "s3://Not_A_Bucket" in done.err


@pytest.mark.usefixtures("s3")
def test_a_store_that_refuses_hides_no_job_of_another(bench: Bench, url: str) -> None:
    """…and the exit code says that some may be missing."""
    assert bench.cli("submit", bench.job("here", "true")).code == 0
    (bench.home / "stores.json").write_text(json.dumps([url]))
    del bench.environ["AWS_ACCESS_KEY_ID"]
    done = bench.cli("list", "--json")
    assert (done.code, [each["name"] for each in done.document]) == (4, ["here"])
    assert f"the jobs in {url} are left out" in done.err
    assert "here" in bench.cli("list").out


@pytest.mark.usefixtures("s3")
def test_missing_credentials_end_with_4(bench: Bench, url: str) -> None:
    del bench.environ["AWS_ACCESS_KEY_ID"]
    done = bench.cli("buckets", "create", url, "--json")
    assert done.code == done.document["error"]["exit_code"] == 4
    assert bench.cli("buckets", "list", "s3://").code == 4
