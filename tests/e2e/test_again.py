"""A job again: resumed, or submitted once more from the folder that its results were pulled to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Bench

SAVE = 'echo one > "$LLMCLOUD_CHECKPOINT_DIR/step-1.bin"'


def test_a_resume_shows_the_log_of_the_new_attempt_only(bench: Bench) -> None:
    path = bench.job("again", 'echo "this is attempt $LLMCLOUD_ATTEMPT"; exit 3')
    assert "this is attempt 1" in bench.cli("submit", path).out
    resumed = bench.cli("resume", "again")
    assert resumed.code == 7
    assert "this is attempt 2" in resumed.out
    assert "this is attempt 1" not in resumed.out


def test_a_job_that_has_succeeded_is_not_resumed(bench: Bench) -> None:
    bench.cli("submit", bench.job("done", "true"))
    resumed = bench.cli("resume", "done")
    assert resumed.code == 2
    assert "succeeded" in resumed.err
    assert bench.cli("status", "done", "--json").document["state"] == "succeeded"


def test_checkpoints_that_were_pulled_into_the_code_do_not_travel(bench: Bench) -> None:
    """Or a new job would begin where the old one ended, and end at once."""
    path = bench.job("first", f"ls checkpoints; {SAVE}")
    bench.cli("submit", path)
    pulled = bench.cli("checkpoints", "pull", "first", cwd=bench.root / "first")
    assert pulled.code == 0, pulled.err
    assert (bench.root / "first" / "checkpoints" / "step-1.bin").exists()
    second = bench.cli("submit", path, "--set", "name=second")
    assert second.code == 0, second.err
    assert "step-1.bin" not in second.out
    assert "starts from" not in second.out


def test_a_file_may_be_the_first_of_the_outputs(bench: Bench) -> None:
    run = 'echo "{}" > metrics.json; echo sample > "$LLMCLOUD_OUTPUT_DIR/sample.txt"'
    done = bench.cli("submit", bench.job("filed", run, "outputs: [metrics.json]\n"))
    assert done.code == 0, done.err
    bench.cli("pull", "filed", "--to", "out")
    found = {path.relative_to(bench.root / "out").as_posix() for path in _files(bench)}
    assert found == {"metrics.json", "outputs/sample.txt"}


def test_the_last_object_of_a_failed_submit_is_the_job(bench: Bench) -> None:
    """A script that reads the last line gets what became of the job."""
    done = bench.cli("submit", bench.job("failing", "exit 3"), "--json")
    assert done.code == 7
    assert (done.objects[-1]["state"], done.objects[-1]["exit_code"]) == ("failed", 3)


def test_what_can_be_resumed_is_said_only_where_there_is_something(bench: Bench) -> None:
    without = bench.cli("submit", bench.job("without", "exit 3"))
    assert "resume" not in without.err
    with_one = bench.cli("submit", bench.job("with-one", f"{SAVE}; exit 3"))
    assert "llmcloud resume with-one-" in with_one.err


def _files(bench: Bench) -> list[Path]:
    return [path for path in (bench.root / "out").rglob("*") if path.is_file()]
