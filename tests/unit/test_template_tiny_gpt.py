"""The tiny-gpt template: its gradients, its checkpoints, and what it says and leaves behind."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from types import ModuleType

SCRIPT = Path(__file__).parents[2] / "templates" / "tiny-gpt" / "train.py"
SMALL = ["--batch_size=2", "--context=8", "--width=8", "--save_every=5", "--log_every=1"]
LINE = re.compile(r"iter (\d+): loss (\d+\.\d+), lr \d\.\de-\d\d, tok/s \d+")


@pytest.fixture(scope="module")
def train() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tiny_gpt_train", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["tiny_gpt_train"] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


def start(folder: Path, *flags: str) -> subprocess.Popen[str]:
    env = {
        **os.environ,
        "LLMCLOUD_CHECKPOINT_DIR": str(folder / "checkpoints"),
        "LLMCLOUD_OUTPUT_DIR": str(folder / "outputs"),
        "OPENBLAS_NUM_THREADS": "1",
    }
    command = [sys.executable, str(SCRIPT), *SMALL, *flags]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, pipesize=4096)


def losses(printed: str) -> dict[int, str]:
    return {int(step): loss for step, loss in LINE.findall(printed)}


def outputs(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "outputs").iterdir()}


def run(folder: Path, *flags: str) -> str:
    process = start(folder, *flags)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return printed


def test_every_gradient_agrees_with_finite_differences(train: ModuleType) -> None:
    """For each number of each parameter of a model of two blocks, in double precision."""
    random = np.random.default_rng(1)
    model = train.GPT(train.Options(context=5, width=4, layers=2), dtype=np.float64)
    inputs, targets = random.integers(256, size=(2, 3, 5))
    inputs[0, :2] = 7  # the same byte twice, so that its gradient is a sum

    def loss() -> float:
        return train.cross_entropy(model.forward(inputs)[0], targets)[0]

    for parameter in model.parameters.values():  # away from the tidy numbers of the start
        parameter.value += random.normal(0, 0.3, parameter.value.shape)
    logits, backward = model.forward(inputs)
    backward(train.cross_entropy(logits, targets)[1])

    for name, parameter in model.parameters.items():
        expected = np.empty_like(parameter.value)
        for index in np.ndindex(parameter.value.shape):
            kept = parameter.value[index]
            parameter.value[index] = kept + 1e-6
            above = loss()
            parameter.value[index] = kept - 1e-6
            expected[index] = (above - loss()) / 2e-6
            parameter.value[index] = kept
        assert np.abs(expected).max() > 1e-3, name
        np.testing.assert_allclose(parameter.gradient, expected, rtol=1e-5, atol=1e-7, err_msg=name)


def test_no_place_sees_what_comes_after_it(train: ModuleType) -> None:
    """A changed byte changes the scores from its own place on, and none before."""
    model = train.GPT(train.Options(context=8, width=8, layers=2))
    text = np.arange(8)[None]
    changed = text.copy()
    changed[0, 5] = 99
    before, after = model.forward(text)[0], model.forward(changed)[0]
    np.testing.assert_array_equal(before[0, :5], after[0, :5])
    assert (before[0, 5:] != after[0, 5:]).any(axis=-1).all()


def test_the_rate_climbs_then_falls_to_a_tenth(train: ModuleType, monkeypatch) -> None:
    """Warm-up is a straight line from zero; the cosine ends at a tenth of the peak."""
    monkeypatch.setattr(sys, "argv", ["train.py", "--max_steps=100", "--warmup_steps=10"])
    options = train.parse_options()
    rates = [train.learning_rate(options, step) for step in range(1, 101)]
    peak = options.learning_rate
    assert rates[:10] == pytest.approx([peak * step / 10 for step in range(1, 11)])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] == pytest.approx(peak / 10)


def test_it_learns(tmp_path: Path) -> None:
    """Each of the 256 bytes is as likely as any at the start (5.5), and no longer after that."""
    printed = run(tmp_path, "--max_steps=150", "--width=16", "--context=16", "--batch_size=16")
    by_step = losses(printed)
    assert float(by_step[1]) > 5
    assert float(by_step[150]) < 3.6


def test_a_run_says_how_far_it_is_and_leaves_its_outputs(tmp_path: Path) -> None:
    """One `total steps` line, one line a step, a checkpoint, a sample and the last loss."""
    printed = run(tmp_path, "--max_steps=7")
    assert printed.count("total steps: 7\n") == 1
    assert sorted(losses(printed)) == [1, 2, 3, 4, 5, 6, 7]
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {"step-5.npz", "step-7.npz"}
    found = json.loads((tmp_path / "outputs" / "loss.json").read_text())
    assert found["step"] == 7
    assert 4 < found["held_out_loss"] < 7
    assert len((tmp_path / "outputs" / "sample.txt").read_bytes()) > 100


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_run_goes_on_as_if_it_had_not_been(tmp_path: Path, how: signal.Signals) -> None:
    """SIGTERM saves the step under way and exits 143; kill -9 goes back to the last checkpoint."""
    whole = losses(run(tmp_path / "whole", "--max_steps=600"))

    stopped = start(tmp_path / "parts", "--max_steps=600")
    assert stopped.stdout
    for line in stopped.stdout:  # which is read no further, so the pipe soon holds the script up
        if line.startswith("iter 12:"):
            stopped.send_signal(how)
            break
    stopped.communicate(timeout=60)
    assert stopped.returncode == (143 if how == signal.SIGTERM else -signal.SIGKILL)

    resumed = run(tmp_path / "parts", "--max_steps=600")
    found = re.search(r"resumed from step (\d+)\n", resumed)
    assert found
    step = int(found.group(1))
    assert 10 <= step < 600
    assert losses(resumed) == {each: whole[each] for each in range(step + 1, 601)}
    assert outputs(tmp_path / "whole") == outputs(tmp_path / "parts")


def test_a_checkpoint_cut_short_by_a_kill_is_not_seen(tmp_path: Path) -> None:
    """What was being written has a name of its own, which no resume looks at."""
    run(tmp_path, "--max_steps=5")
    (tmp_path / "checkpoints" / "saving.tmp").write_bytes(b"PK half of a checkpoint")
    assert "resumed from step 5\n" in run(tmp_path, "--max_steps=6")
