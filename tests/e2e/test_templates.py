"""Each template as its user meets it; tiny-gpt, which needs numpy alone, through its whole life."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.rig.templates import (
    activate,
    after,
    await_saved,
    losses,
    resumed_step,
    settings,
    start_from,
    steps,
    told,
)

from llmcloud.core import templates
from llmcloud.runtime import process

if TYPE_CHECKING:
    from tests.e2e.conftest import Bench

TEMPLATES = [each.name for each in templates.find_all()]
LONG = {"max_steps": 1200, "save_every": 50, "log_every": 1}  # long enough to come in between
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture
def bench(bench: Bench) -> Bench:
    return activate(bench)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:
    """The loss at each step when nobody stops the script, which needs no llmcloud to run."""
    script = templates.find("tiny-gpt").folder / "train.py"
    done = subprocess.run(
        [sys.executable, script, *(f"--{name}={value}" for name, value in LONG.items())],
        cwd=tmp_path_factory.mktemp("unbroken"),
        env={**os.environ, **ONE_THREAD},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = re.findall(r"iter (\d+): loss (\d\.\d+)", done.stdout)
    return {int(step): float(loss) for step, loss in found}


# ---- every template ------------------------------------------------------------------


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_is_valid_and_can_be_planned_here(bench: Bench, template: str) -> None:
    path = start_from(bench, template)
    valid = bench.cli("validate", path)
    assert valid.code == 0, valid.err
    planned = bench.cli("plan", path, "--json")
    assert planned.code == 0, planned.err
    assert planned.document["offer"]["provider"] == "local"


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_tells_how_to_submit_it(bench: Bench, template: str) -> None:
    """Each submit in its README, and the one atop its job file, is one that would run."""
    folder = Path(start_from(bench, template)).parent
    atop = (folder / "job.yaml").read_text().splitlines()[0]
    assert atop == "# Submit with: llmcloud submit job.yaml"
    submits = [words for words in told(folder) if words[0] == "submit"]
    assert ["submit", "job.yaml"] in submits
    for words in submits:
        done = bench.cli(*words, "--dry-run", cwd=folder)
        assert done.code == 0, done.err


@pytest.mark.packaging
def test_all_that_the_readme_of_tiny_gpt_says_works_as_it_stands(bench: Bench) -> None:
    """With its own setup, which installs numpy, and every command in turn."""
    folder = Path(start_from(bench, "tiny-gpt")).parent
    assert len(told(folder)) > 2
    for words in told(folder):
        done = bench.end(bench.start(*words, cwd=folder), 150)
        assert done.code == 0, done.err
    assert list(folder.glob("checkpoints/step-*.npz"))
    assert list(folder.rglob("sample.txt"))


# ---- tiny-gpt ------------------------------------------------------------------------


def test_tiny_gpt_learns_and_what_it_learnt_comes_back(bench: Bench) -> None:
    """The bytes pulled are the node's; the numbers are in the store and in the status."""
    path = start_from(bench, "tiny-gpt")
    run = "python train.py {hyperparameters} && sha256sum checkpoints/*.npz"
    wanted = settings(max_steps=400, save_every=50)
    done = bench.cli("submit", path, "--set", f"run={run}", *wanted)
    assert done.code == 0, done.err
    on_node = dict(re.findall(r"([0-9a-f]{64})  checkpoints/step-(\d+)\.npz", done.out))
    on_node = {int(step): digest for digest, step in on_node.items()}
    assert sorted(on_node) == list(range(50, 401, 50))

    found = bench.status("tiny-gpt")
    assert found["metrics"]["step"] == found["metrics"]["total"] == 400
    learnt = losses(bench, found["job"])
    assert sorted(learnt) == [1, *range(10, 401, 10)]
    assert learnt[1] > 5
    assert learnt[400] < 3
    assert learnt[400] == found["metrics"]["loss"]

    listed = steps(bench, "tiny-gpt")
    assert listed[-1] == 400
    assert len(listed) <= 3
    for step in listed:
        to = bench.root / f"pulled-{step}"
        pulled = bench.cli("checkpoints", "pull", "tiny-gpt", "--step", str(step), "--to", str(to))
        assert pulled.code == 0, pulled.err
        (file,) = to.iterdir()
        assert file.name == f"step-{step}.npz"
        assert hashlib.sha256(file.read_bytes()).hexdigest() == on_node[step]

    outputs = bench.cli("pull", "tiny-gpt", "--to", str(bench.root / "outputs"), "--json")
    assert outputs.code == 0, outputs.err
    by_name = {each.name: each for each in (bench.root / "outputs").rglob("*") if each.is_file()}
    assert set(by_name) == {"loss.json", "sample.txt"}
    assert by_name["sample.txt"].read_bytes().startswith(b"def ")


def test_tiny_gpt_resumes_after_a_cancel_as_if_nothing_had_been(
    bench: Bench, unbroken: dict[int, float]
) -> None:
    """SIGTERM makes a last checkpoint; every later loss is that of a run that nobody stopped."""
    job = bench.submit(start_from(bench, "tiny-gpt"), *settings(**LONG))
    await_saved(bench, job, 100)
    cancelled = bench.cli("cancel", job, "--json")
    assert cancelled.code == 0, cancelled.err
    assert cancelled.document["state"] == "cancelled"
    stopped = re.search(r"stopped after step (\d+)\n", bench.log(job))
    assert stopped, bench.log(job)
    step = int(stopped[1])
    assert steps(bench, job)[-1] == step

    resumed = bench.cli("resume", job)
    assert resumed.code == 0, resumed.err
    assert resumed_step(bench, job) == step
    assert losses(bench, job) == {k: v for k, v in unbroken.items() if k <= step}
    assert losses(bench, job, 2) == after(step, unbroken)
    assert bench.status(job)["attempt"] == 2


def test_tiny_gpt_goes_on_by_itself_when_its_runtime_is_killed(
    bench: Bench, unbroken: dict[int, float]
) -> None:
    """The submit that follows it never notices more than a second attempt."""
    path = start_from(bench, "tiny-gpt")
    following = bench.start("submit", path, "--json", *settings(**LONG))
    first = json.loads(following.stdout.readline())
    job = first["job"]
    await_saved(bench, job, 100)
    process.send(bench.runtimes(job)[0], signal.SIGKILL)

    done = bench.end(following)
    assert done.code == 0, done.err
    last = done.objects[-1]
    assert (last["state"], last["attempt"]) == ("succeeded", 2)
    step = resumed_step(bench, job)
    assert step >= 100
    assert losses(bench, job, 2) == after(step, unbroken)
    assert steps(bench, job)[-1] == LONG["max_steps"]
