"""The templates gpt2 and ddp from the command line to the end of their last process."""

from __future__ import annotations

import json
import re
import signal
from typing import TYPE_CHECKING

import pytest
from tests.e2e.conftest import Bench, opened
from tests.rig.templates import (
    activate,
    after,
    await_saved,
    await_sigterm,
    hold,
    kill_node,
    losses,
    metrics,
    resumed_step,
    settings,
    signal_training,
    start_from,
    steps,
    told,
)
from tests.rig.waits import eventually

from llmcloud.runtime import heartbeat, process

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import Done

pytestmark = [pytest.mark.torch, pytest.mark.timeout(500)]

SMALL = {"width": 16, "layers": 1, "heads": 2, "context": 16, "warmup_steps": 5, "log_every": 1}
GPT2 = settings(**SMALL, batch_size=8, max_steps=400, save_every=50)
DDP = settings(**SMALL, batch_size=4, max_steps=200, save_every=20)
END_S = 300.0


@pytest.fixture
def bench(bench: Bench) -> Bench:
    return activate(bench)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A home in which both templates ran to their end, and nobody stopped them."""
    with opened(tmp_path_factory.mktemp("trained")) as bench:
        yield activate(bench)


@pytest.fixture(scope="module")
def gpt2(trained: Bench) -> Done:
    path = start_from(trained, "gpt2")
    return trained.end(trained.start("submit", path, *GPT2), END_S)


@pytest.fixture(scope="module")
def ddp(trained: Bench) -> Done:
    path = start_from(trained, "ddp")
    return trained.end(trained.start("submit", path, "--json", *DDP), END_S)


@pytest.fixture(scope="module")
def unbroken_gpt2(trained: Bench, gpt2: Done) -> dict[int, float]:
    assert gpt2.code == 0, gpt2.err
    return losses(trained, trained.status("gpt2")["job"])


@pytest.fixture(scope="module")
def unbroken_ddp(trained: Bench, ddp: Done) -> dict[int, float]:
    assert ddp.code == 0, ddp.err
    return losses(trained, trained.status("ddp")["job"])


# ---- gpt2 ----------------------------------------------------------------------------


def test_gpt2_learns_and_what_it_learnt_comes_back(trained: Bench, gpt2: Done) -> None:
    """Loss, rate and speed of each step are recorded; a checkpoint is a Trainer's whole folder."""
    assert gpt2.code == 0, gpt2.err
    job = trained.status("gpt2")["job"]
    measured = metrics(trained, job)
    assert sorted(measured) == list(range(1, 401))
    assert measured[1]["loss"] > 5
    assert measured[400]["loss"] < 4
    assert measured[400]["lr"] < measured[5]["lr"]
    assert measured[400]["tok_s"] > 0
    latest = trained.status(job)["metrics"]
    assert (latest["step"], latest["total"]) == (400, 400)

    assert steps(trained, job)[-1] == 400
    pulled = trained.root / "pulled"
    done = trained.cli("checkpoints", "pull", job, "--to", str(pulled))
    assert done.code == 0, done.err
    assert [each.name for each in pulled.iterdir()] == ["checkpoint-400"]
    names = {each.name for each in (pulled / "checkpoint-400").iterdir()}
    assert names >= {"config.json", "model.safetensors", "optimizer.pt", "trainer_state.json"}

    assert trained.cli("pull", job, "--to", str(trained.root / "outputs")).code == 0
    (sample,) = (trained.root / "outputs").rglob("sample.txt")
    assert sample.read_text().startswith("def ")


def test_gpt2_resumes_after_a_cancel_as_if_nothing_had_been(
    bench: Bench, unbroken_gpt2: dict[int, float]
) -> None:
    """SIGTERM makes a last checkpoint; every later loss is that of a run that nobody stopped."""
    job = bench.submit(start_from(bench, "gpt2"), *GPT2)
    hold(bench, job, "checkpoints/checkpoint-100/trainer_state.json")
    assert bench.cli("cancel", job, "--detach").code == 0
    await_sigterm(bench, job)
    signal_training(bench, job, signal.SIGCONT)
    bench.await_state(job, "cancelled")
    bench.await_nothing_running(job)
    step = max(losses(bench, job))
    assert 100 <= step < 400
    assert steps(bench, job)[-1] == step
    ending = heartbeat.read(bench.store, job, 1, 0)
    assert ending
    assert ending.exit_code == 143  # as SIGTERM does: what was interrupted must not look finished

    resumed = bench.end(bench.start("resume", job), END_S)
    assert resumed.code == 0, resumed.err
    assert resumed_step(bench, job) == step
    assert losses(bench, job, 2) == after(step, unbroken_gpt2)


def test_gpt2_resumes_from_an_older_checkpoint_when_the_newest_is_torn(
    bench: Bench, unbroken_gpt2: dict[int, float]
) -> None:
    """All is killed at once, as by a power cut, and half of the newest weights is on the disk."""
    job = bench.submit(start_from(bench, "gpt2"), *GPT2)
    hold(bench, job, "checkpoints/checkpoint-100/trainer_state.json")
    await_saved(bench, job, 100)
    signal_training(bench, job, signal.SIGCONT)
    hold(bench, job, "checkpoints/checkpoint-200/trainer_state.json")
    for pid in [bench.keeper(job), *bench.processes(job)]:
        process.send(pid, signal.SIGKILL)
    bench.await_nothing_running(job)
    folder = bench.work(job) / "code" / "checkpoints"
    whole = sorted(int(each.parent.name[11:]) for each in folder.glob("*/trainer_state.json"))
    weights = folder / f"checkpoint-{whole[-1]}" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])

    resumed = bench.end(bench.start("resume", job), END_S)
    assert resumed.code == 0, resumed.err
    log = bench.log(job, attempt=2)
    assert re.search(r"A torn checkpoint is set aside in \S+: .*model\.safetensors", log), log
    assert resumed_step(bench, job) == whole[-2]
    assert losses(bench, job, 2) == after(whole[-2], unbroken_gpt2)


# ---- ddp -----------------------------------------------------------------------------


def test_ddp_trains_one_model_in_four_processes(trained: Bench, ddp: Done) -> None:
    """Rank 0 alone speaks and saves; each node has a log of its own."""
    assert ddp.code == 0, ddp.err
    job = trained.status("ddp")["job"]
    learnt = losses(trained, job)
    assert sorted(learnt) == list(range(1, 201))
    assert learnt[1] > 5
    assert learnt[200] < 4
    assert trained.log(job).count("total steps: 200") == 1
    speakers = {each["node"] for each in ddp.objects if each.get("stream") == "stdout"}
    assert speakers == {0}

    assert steps(trained, job)[-1] == 200
    pulled = trained.root / "ddp-pulled"
    done = trained.cli("checkpoints", "pull", job, "--to", str(pulled))
    assert done.code == 0, done.err
    assert [each.name for each in pulled.iterdir()] == ["step-200.pt"]


@pytest.mark.parametrize("victim", [0, 1])
def test_ddp_goes_on_by_itself_when_a_node_is_lost(
    bench: Bench, unbroken_ddp: dict[int, float], victim: int
) -> None:
    """The next attempt starts everywhere from the newest checkpoint; each later loss is as ever."""
    following = bench.start("submit", start_from(bench, "ddp"), "--json", *DDP)
    job = json.loads(following.stdout.readline())["job"]
    hold(bench, job, "checkpoints/step-20.pt")
    await_saved(bench, job, 20)
    kill_node(bench, job, victim)
    signal_training(bench, job, signal.SIGCONT)

    done = bench.end(following, END_S)
    assert done.code == 0, done.err
    last = done.objects[-1]
    assert (last["state"], last["attempt"]) == ("succeeded", 2)
    step = resumed_step(bench, job)
    for node in (0, 1):
        assert f"Attempt 2 starts from checkpoint {step}." in bench.log(job, attempt=2, node=node)
    assert losses(bench, job, 2) == pytest.approx(after(step, unbroken_ddp), abs=1e-3)
    assert steps(bench, job)[-1] == 200
    eventually(lambda: not bench.processes(job), "nothing left running")


# ---- both ----------------------------------------------------------------------------


@pytest.mark.parametrize("template", ["gpt2", "ddp"])
@pytest.mark.usefixtures("gpt2", "ddp")
def test_what_a_readme_says_to_type_after_the_submit_works(trained: Bench, template: str) -> None:
    folder = trained.root / template
    for words in told(folder):
        if words[0] != "submit":
            done = trained.cli(*words, cwd=folder)
            assert done.code == 0, done.err
    assert list(folder.glob("checkpoints/*"))
