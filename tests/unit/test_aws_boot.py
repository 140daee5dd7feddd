"""The user data of a machine: the same for the same launch, short, and nobody's key in it."""

from __future__ import annotations

import os
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
    from collections.abc import Callable, Mapping

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


class TestPythonsVenv:
    """Which plain images have not; upgrades have apt's locks while a machine boots first."""

    @pytest.fixture
    def install(self, tmp_path: Path) -> Callable[[int, int], subprocess.CompletedProcess[str]]:
        """Return what runs this part of the script: there after some tries, of none at first."""
        lines = SCRIPT.read_text().splitlines()
        (first,) = (number for number, line in enumerate(lines) if line.startswith("venv()"))
        stubs = {
            "python3": "[ $(grep -c install $ASKED) -ge $TRIES ]",
            "apt-get": "echo $* >>$ASKED; [ $(grep -c update $ASKED) -gt $LOCKED ]",
            "sleep": "echo sleep >>$ASKED",
        }
        (tmp_path / "asked").touch()
        for name, body in stubs.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
            (tmp_path / name).chmod(0o755)

        def run(tries: int, locked: int) -> subprocess.CompletedProcess[str]:
            part = lines[first : first + 2]
            text = "\n".join([lines[0].partition(";")[0], *part, "echo goes on"])
            settings = {"TRIES": str(tries), "LOCKED": str(locked), "ASKED": f"{tmp_path}/asked"}
            return subprocess.run(
                ["/bin/bash", "-c", text],
                env={"PATH": f"{tmp_path}:{os.environ['PATH']}", **settings},
                capture_output=True, text=True, check=False,
            )  # fmt: skip

        return run

    @pytest.mark.parametrize(("locked", "asked"), [(0, 2), (1, 4), (2, 6)])
    def test_is_installed_though_somebody_else_has_the_lists(
        self,
        install: Callable[[int, int], subprocess.CompletedProcess[str]],
        tmp_path: Path,
        locked: int,
        asked: int,
    ) -> None:
        assert install(1, locked).stdout == "goes on\n"
        said = (tmp_path / "asked").read_text().splitlines()
        assert len(said) == asked
        assert said[-1] == "install -qy -o DPkg::Lock::Timeout=600 python3-venv"

    def test_is_left_alone_where_it_is(
        self, install: Callable[[int, int], subprocess.CompletedProcess[str]], tmp_path: Path
    ) -> None:
        assert install(0, 0).stdout == "goes on\n"
        assert (tmp_path / "asked").read_text() == ""

    def test_that_cannot_be_had_ends_the_script(
        self, install: Callable[[int, int], subprocess.CompletedProcess[str]]
    ) -> None:
        assert install(1, 9).stdout == ""


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
