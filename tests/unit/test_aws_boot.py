"""The user data of a machine: the same for the same launch, short, and nobody's key in it."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from llmcloud.core.job import Job
from llmcloud.core.provider import Launch, Offer
from llmcloud.providers.aws import boot
from llmcloud.runtime.task import Task

if TYPE_CHECKING:
    from collections.abc import Mapping

GOLDEN = Path(__file__).parent / "golden" / "boot"
SCRIPT = Path(__file__).parents[2] / "templates" / "boot" / "aws.sh"
LINES_MAX = 30


def launch(secrets: Mapping[str, str] | None = None) -> Launch:
    job = Job(
        id="gpt2-k3m9pa", name="gpt2", provider="aws", service="vm", region="us-west-2",
        store="s3://llmcloud-123456789012-us-west-2", created_at="2026-11-21T10:00:00.000Z",
        spec={}, spec_digest="5" * 64, plan={}, runtime="a" * 64,
        task=Task("gpt2-k3m9pa", "gpt2", "python train.py", max_duration_s=3600.0),
    )  # fmt: skip
    offer = Offer("aws", "vm", "us-west-2", "m7i.large", 2, 1 << 33, 0.1, architecture="x86_64")
    return Launch(job, offer, 1, "us-west-2a", at="2026-11-21T10:00:05.000Z", secrets=secrets or {})


@pytest.mark.parametrize("group", ["", "llmcloud-gpt2-k3m9pa"])
def test_the_script_is_as_it_was(group: str) -> None:
    made = boot.script(launch(), "us-west-2", group=group)
    golden = GOLDEN / f"aws{'-group' if group else ''}.sh"
    if not golden.exists():  # remove it to write it again
        golden.write_text(made)
        pytest.fail(f"{golden} was not there: it is now, look at it")
    assert made == golden.read_text()


def test_the_script_is_short_and_bash() -> None:
    assert len(SCRIPT.read_text().splitlines()) <= LINES_MAX
    checked = subprocess.run(
        ["bash", "-n"], input=boot.script(launch(), "us-west-2"), text=True, check=False
    )
    assert checked.returncode == 0


def test_no_secret_is_in_it() -> None:
    assert "sesame" not in boot.script(launch({"TOKEN": "sesame"}), "us-west-2")
    assert "sesame" not in repr(launch({"TOKEN": "sesame"}))


def test_a_job_without_a_limit_has_no_timer() -> None:
    before = launch()
    task = replace(before.job.task, max_duration_s=None)
    endless = replace(before, job=replace(before.job, task=task))
    assert "\nMINUTES=''\n" in boot.script(endless, "us-west-2")
    assert "--expires-epoch" not in boot.script(endless, "us-west-2")
    assert "\nMINUTES=75\n" in boot.script(before, "us-west-2")


@pytest.mark.parametrize(
    ("store", "region", "url"),
    [
        ("s3://jobs", "eu-west-1", "https://jobs.s3.eu-west-1.amazonaws.com"),
        ("s3://my.jobs", "eu-west-1", "https://s3.eu-west-1.amazonaws.com/my.jobs"),
        ("s3://jobs", "cn-north-1", "https://jobs.s3.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_a_bucket_is_reached_by_its_region(store: str, region: str, url: str) -> None:
    assert boot.bucket_url(store, region) == url
