"""What the world does to a job: no space, no store, odd files."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.e2e.conftest import LLMCLOUD
from tests.rig.waits import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Bench

# Without what lets root read every file.
AS_ANYBODY = [] if os.geteuid() else ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
TRAINS = """
    import os, time
    folder = os.environ["LLMCLOUD_CHECKPOINT_DIR"]
    begun = max((int(name[5:-4]) for name in os.listdir(folder) if "step-" in name), default=0)
    print("begins after", begun, flush=True)
    for step in range(begun + 1, 7):
        with open(f"{folder}/.new", "wb") as file:
            file.write(b"x" * (1 << 20))
        os.rename(f"{folder}/.new", f"{folder}/step-{step}.bin")
        print("step", step, flush=True)
        time.sleep(1.2)
"""


def test_a_store_that_is_full_loses_nothing(bench: Bench, small_disk: Path) -> None:
    """The training goes on to its end; what could not be saved waits on the node for a resume."""
    store = f"file://{small_disk}/store"
    more = f"store: {store}\ncheckpoints: {{interval: 1s, keep: 0}}\n"
    done = bench.cli("submit", bench.job("full", "python trains.py", more, trains__py=TRAINS))
    assert done.code == 7
    assert "step 6" in done.out
    assert "No space is left in the store" in done.err
    assert "can't be saved for now: No space is left" in done.out
    bench.await_nothing_running()
    assert bench.cli("gc", "--dry-run", "--json").document == []  # what it left is wanted
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    done = bench.cli("resume", "full", "--store", store)
    assert done.code == 0, done.err
    assert "begins after 6" in done.out
    listed = bench.cli("checkpoints", "list", "full", "--json", "--store", store).document
    assert 6 in [each["step"] for each in listed]


def test_a_submit_to_a_full_store_says_so(bench: Bench, small_disk: Path) -> None:
    path = bench.job("nospace", "true", f"store: file://{small_disk}/store\n")
    with (small_disk / "junk").open("wb") as junk:
        os.posix_fallocate(junk.fileno(), 0, shutil.disk_usage(small_disk).free)
    done = bench.cli("submit", path)
    assert done.code == 6
    assert "No space is left" in done.err
    assert "fix:" in done.err


def test_a_store_that_is_deleted_under_a_job_ends_both_job_and_follower(bench: Bench) -> None:
    """Nothing of the store comes back, and nothing runs on."""
    child = bench.start("submit", bench.job("gone", "echo training; sleep 1000"))
    (job,) = eventually(lambda: bench.store.is_there() and bench.store.folders("jobs/"), "a job")
    bench.await_log(job, "training")
    shutil.rmtree(bench.home / "store")
    done = bench.end(child)
    assert done.code == 9
    assert "no store" in done.err
    assert "Traceback" not in done.err
    bench.await_nothing_running(job)
    assert not (bench.home / "store").exists()
    assert bench.cli("list", "--json").document == []


def test_a_code_folder_that_is_too_big_is_refused_at_once(bench: Bench) -> None:
    path = bench.job("big", "true")
    with (bench.root / "big" / "corpus.bin").open("wb") as file:
        file.truncate(10 * 10**9)
    done = bench.cli("submit", path)
    assert done.code == 3
    assert "10,000 MB" in done.err
    assert "corpus.bin" in done.err
    assert ".llmcloudignore" in done.err
    assert not (bench.home / "store/jobs").exists()


def test_odd_files_do_not_travel_and_are_named(bench: Bench) -> None:
    path = bench.job("odd", "find . | sort", "code: {exclude: [job.yaml]}\n", kept="x")
    folder = bench.root / "odd"
    os.mkfifo(folder / "fifo")
    (folder / "broken").symlink_to("nowhere")
    (folder / "outside").symlink_to("/etc/hostname")
    (folder / "inside").symlink_to("kept")
    (folder / "new\nline").write_text("x")
    (folder / b"\xff\xfe".decode(errors="surrogateescape")).write_text("x")
    with socket.socket(socket.AF_UNIX) as listening:
        os.chdir(folder)
        listening.bind("socket")
        done = bench.cli("submit", path)
    assert done.code == 0, done.err
    for name in ("fifo", "broken", "outside", "socket"):
        assert f"{name} does not travel" in done.err
        assert f"./{name}" not in done.out
    for name in ("kept", "inside"):
        assert f"./{name}" in done.out.splitlines()
    assert "Traceback" not in done.err


@pytest.mark.parametrize("where", ["code", "data"])
def test_a_file_that_cannot_be_read_is_refused_by_name(bench: Bench, where: str) -> None:
    more = "data: [{source: ./data, target: there}]\ncode: {exclude: [data]}\n"
    path = bench.job("secret", "true", more)
    folder = bench.root / "secret"
    (folder / "data").mkdir()
    locked = (folder / "data" if where == "data" else folder) / "locked"
    locked.write_text("x")
    locked.chmod(0)
    done = subprocess.run(
        [*AS_ANYBODY, *LLMCLOUD, "submit", path],
        env=bench.environ,
        cwd=bench.root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "locked" in done.stderr) == (3, True), done.stderr
    assert not (bench.home / "store/jobs").exists()


def test_what_has_not_changed_is_not_uploaded_again(bench: Bench) -> None:
    more = "data: [{source: ./corpus, target: data}]\ncode: {exclude: [corpus]}\n"
    path = bench.job("same", "cat a.txt data/b.txt", more)
    folder = bench.root / "same"
    (folder / "corpus").mkdir()
    (folder / "a.txt").write_text("one ")
    (folder / "corpus" / "b.txt").write_text("two")

    def submit() -> tuple[str, list[str]]:
        done = bench.cli("submit", path)
        assert done.code == 0, done.err
        uploads = [line.split()[1] for line in done.err.splitlines() if "uploading" in line]
        return done.out.strip(), uploads

    def staged() -> dict[str, int]:
        """Return what the store has of it, each with the number of its write."""
        found = [*bench.store.objects("code/"), *bench.store.objects("data/")]
        return {entry.key: (bench.store.root / entry.key).stat().st_ino for entry in found}

    assert submit() == ("one two", ["code", "runtime", "corpus"])
    before = staged()
    assert len(before) == 3
    assert submit() == ("one two", [])
    assert staged() == before
    os.utime(folder / "a.txt", (0, 0))
    assert submit() == ("one two", [])
    (folder / "a.txt").write_text("three ")
    assert submit() == ("three two", ["code"])
    (folder / "corpus" / "b.txt").write_text("four")
    assert submit() == ("three four", ["corpus"])
