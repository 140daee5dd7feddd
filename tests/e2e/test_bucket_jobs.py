"""A job whose store is a bucket, and whose data comes from one."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from tests.e2e.conftest import contains
from tests.rig.buckets import BUCKETS
from tests.rig.waits import eventually

if TYPE_CHECKING:
    from tests.e2e.conftest import Bench
    from tests.rig.emulators.catalog import Emulators

CLOUDS = ("s3-ministack", "gs-ours", "az-azurite")
TRAIN = """
    cat data/sub/b.txt
    for step in 1 2 3; do
        mkdir checkpoint-$step
        echo "weights $step" > checkpoint-$step/model.bin
        mv checkpoint-$step checkpoints/
        while [ ! -e go-$step ] && [ -e slow ]; do sleep 0.05; done
    done
    mkdir -p outputs && echo result > outputs/result.txt
"""


@dataclass(frozen=True)
class Cloud:
    """A bucket that jobs are kept in, and the bench whose commands reach it."""

    bench: Bench
    url: str

    def job(self, name: str = "trains", **files: str) -> str:
        (self.bench.root / "corpus" / "sub").mkdir(parents=True)
        (self.bench.root / "corpus" / "sub" / "b.txt").write_text("from a bucket\n")
        pushed = self.bench.cli("data", "push", "corpus", f"{self.url}/corpus")
        assert pushed.code == 0, pushed.err
        more = f"""
            store: {self.url}
            data: [{{source: "{self.url}/corpus", target: data}}]
            checkpoints: {{path: checkpoints, interval: 1s}}
            outputs: [outputs/]
        """
        return self.bench.job(name, "mkdir -p checkpoints" + TRAIN, more, **files)


@pytest.fixture(params=CLOUDS)
def cloud(request: pytest.FixtureRequest, bench: Bench, emulators: Emulators) -> Cloud:
    rig = BUCKETS[request.param]
    bench.environ.update(emulators.get(rig.emulator).environ)
    url = f"{rig.scheme}://{rig.name(f'llmcloud-{uuid.uuid4().hex[:12]}')}"
    made = bench.cli("buckets", "create", url)
    assert made.code == 0, made.err
    return Cloud(bench, url)


def test_a_job_lives_in_a_bucket_from_submit_to_pull(cloud: Cloud) -> None:
    """…and its code, log, checkpoints and outputs come from there."""
    bench = cloud.bench
    done = bench.cli("submit", cloud.job())
    assert done.code == 0, done.err
    assert "from a bucket" in done.out
    (job,) = bench.cli("list", "--store", cloud.url, "--json").document
    assert job["state"] == "succeeded"
    assert "from a bucket" in bench.cli("logs", "trains").out
    pulled = bench.cli("checkpoints", "pull", "trains", "--to", "got", "--json")
    assert pulled.document["step"] == 3
    assert (bench.root / "got" / "checkpoint-3" / "model.bin").read_text() == "weights 3\n"
    assert bench.cli("pull", "trains", "--to", "out").code == 0
    assert (bench.root / "out" / "outputs" / "result.txt").read_text() == "result\n"


@pytest.mark.parametrize("cloud", CLOUDS[:1], indirect=True)  # it takes long
def test_checkpoints_are_pulled_from_a_bucket_as_they_come(cloud: Cloud) -> None:
    bench = cloud.bench
    path = cloud.job(slow="")
    job = bench.submit(path)
    watching = bench.start("checkpoints", "pull", job, "--watch", "--to", "got")
    for step in (1, 2, 3):
        file = bench.root / "got" / f"checkpoint-{step}" / "model.bin"
        eventually(file.exists, f"checkpoint {step} is here")
        (bench.work(job) / "code" / f"go-{step}").touch()
    assert bench.end(watching).code == 0
    assert bench.cli("wait", job).code == 0


@pytest.mark.parametrize("cloud", CLOUDS[:1], indirect=True)
def test_the_same_code_is_not_sent_to_a_bucket_again(cloud: Cloud) -> None:
    bench, path = cloud.bench, cloud.job()
    first, second = bench.cli("submit", path), bench.cli("submit", path, "--set", "name=again")
    assert "uploading code" in first.err
    assert second.code == 0, second.err
    assert "uploading" not in second.err


@pytest.mark.parametrize("cloud", CLOUDS[:1], indirect=True)
def test_a_profile_is_enough_for_a_job_on_this_machine(cloud: Cloud) -> None:
    """…whose nodes have no SDK to read it; and its keys are written nowhere."""
    bench, path = cloud.bench, cloud.job()
    secret = "a-secret-of-the-profile"
    profile = f"[default]\naws_access_key_id = id\naws_secret_access_key = {secret}\n"
    (bench.root / "credentials").write_text(profile)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del bench.environ[name]
    bench.environ["AWS_SHARED_CREDENTIALS_FILE"] = str(bench.root / "credentials")
    done = bench.cli("submit", path)
    assert done.code == 0, done.err
    assert contains([bench.home], secret) == []


@pytest.mark.parametrize("cloud", CLOUDS[:1], indirect=True)
def test_a_store_that_can_be_none_is_not_remembered(cloud: Cloud) -> None:
    bench = cloud.bench
    assert bench.cli("submit", cloud.job(), "--set", "store=s3://my..store").code != 0
    assert "my..store" not in bench.cli("list").err
