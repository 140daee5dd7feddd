"""A job's log as its readers see it: each line once, in its order, whenever they come."""

from __future__ import annotations

import json
import signal
import subprocess
from collections import Counter
from typing import TYPE_CHECKING

from tests.e2e.conftest import LLMCLOUD
from tests.rig.waits import eventually

if TYPE_CHECKING:
    from tests.e2e.conftest import Bench

COUNT = 300
# Waits for a file in its folder, so that a test decides how far the log has come.
STAGES = """
    import os, time
    for stage in range(3):
        for number in range(100):
            print("line", stage * 100 + number, flush=True)
        while stage < 2 and not os.path.exists(f"../go-{stage}"):
            time.sleep(0.05)
"""


def _stages(bench: Bench) -> str:
    return bench.submit(bench.job("stages", "python stages.py", stages__py=STAGES))


def _go(bench: Bench, job: str, stage: int) -> None:
    (bench.work(job) / f"go-{stage}").touch()


def test_followers_that_come_before_during_and_after_see_the_same(bench: Bench) -> None:
    job = _stages(bench)
    before = bench.start("logs", "-f", job)
    bench.await_log(job, "line 99")
    _go(bench, job, 0)
    bench.await_log(job, "line 150")
    during = bench.start("logs", "-f", job)
    _go(bench, job, 1)
    bench.await_state(job, "succeeded")
    after = bench.start("logs", "-f", job)
    wanted = [f"line {number}" for number in range(COUNT)]
    for child in (before, during, after):
        done = bench.end(child)
        assert (done.code, done.out.splitlines()) == (0, wanted), done.err
    assert bench.cli("logs", job).out.splitlines() == wanted


def test_a_follower_that_was_killed_goes_on_by_its_cursor(bench: Bench) -> None:
    job = _stages(bench)
    bench.await_log(job, "line 99")
    path = bench.root / "seen"
    seen: list[dict[str, object]] = []
    for stage in range(3):
        cursor = ["--cursor", str(seen[-1]["cursor"])] if seen else []
        with path.open("wb") as out:
            child = bench.start("logs", "-f", "--json", *cursor, job, stdout=out)
            if stage < 2:
                _go(bench, job, stage)
                eventually(lambda: path.read_bytes().count(b"\n") > 50, "some lines")
                child.send_signal(signal.SIGKILL)
            child.wait()
        whole = path.read_text().rpartition("\n")[0]  # a kill may cut the last one
        seen += [json.loads(line) for line in whole.splitlines()]
    assert [each["line"] for each in seen] == [f"line {number}" for number in range(COUNT)]


def test_tail_since_and_node_choose_lines(bench: Bench) -> None:
    run = """
        for i in $(seq 5); do echo old $RANK $i; done
        sleep 2
        date -u +%Y-%m-%dT%H:%M:%SZ > ../../../../now-$RANK
        sleep 2
        for i in $(seq 5); do echo new $RANK $i; done
    """
    job = bench.submit(bench.job("choose", run, "resources: {nodes: 2}\n"))
    assert bench.cli("wait", job).code == 0

    def lines(*args: str) -> list[str]:
        done = bench.cli("logs", job, *args)
        assert done.code == 0, done.err
        return done.out.splitlines()

    ours = [f"{age} 1 {i + 1}" for age in ("old", "new") for i in range(5)]
    assert lines("--node", "1") == ours
    assert lines("--node", "1", "--tail", "3") == ours[-3:]
    assert lines("--node", "1", "--tail", "0") == []
    assert len(lines("--tail", "4")) == 4
    since = max((bench.home / f"now-{rank}").read_text().strip() for rank in (0, 1))
    assert lines("--node", "1", "--since", since) == ours[5:]
    assert len(lines("--since", since)) == 10
    eventually(lambda: lines("--since", "1s") == [], "all lines are older than a second")
    assert len(lines("--since", "1h")) == 20
    assert bench.cli("logs", job, "--node", "7").code == 2
    assert bench.cli("logs", job, "--since", "yesterday-ish").code == 2
    assert bench.cli("logs", job, "--cursor", "rubbish").code == 2


def test_bytes_long_lines_and_bars_come_back_as_they_were(bench: Bench) -> None:
    odd = r"""
        import sys, time
        out = sys.stdout.buffer
        out.write(bytes(range(256)) + b"\n"); out.flush()
        out.write(b"\xff\xfe\x00\n"); out.flush()
        for percent in range(0, 101, 20):
            out.write(b"\r%3d%%" % percent); out.flush()
        out.write(b"\n"); out.flush()
        out.write(b"no newline here"); out.flush(); time.sleep(1.5)
        out.write(b" and none at the end"); out.flush()
    """
    path = bench.job("odd", "python odd.py", odd__py=odd)
    child = bench.start("submit", path)
    out, err = child.communicate(timeout=90)
    assert child.returncode == 0, err
    bars = b"".join(b"\r%3d%%" % percent for percent in range(0, 101, 20))
    wanted = bytes(range(256)) + b"\n\xff\xfe\x00\n" + bars + b"\n"
    assert out == wanted + b"no newline here and none at the end\n"
    objects = bench.cli("logs", "odd", "--json").objects
    assert any(each.get("partial") for each in objects)
    assert len({each["cursor"] for each in objects}) == len(objects)


def test_a_line_of_10_mb_and_a_million_short_ones_come_through(bench: Bench) -> None:
    """None is lost, and a reader of all of them needs little memory."""
    many = """
        import sys
        sys.stdout.write("x" * 10_000_000)
        sys.stdout.write("\\n")
        for start in range(0, 1_000_000, 10_000):
            sys.stdout.write("".join(f"line {i}\\n" for i in range(start, start + 10_000)))
    """
    job = bench.submit(bench.job("many", "python many.py", many__py=many))
    assert bench.cli("wait", job).code == 0
    path = bench.root / "all"
    with path.open("wb") as out:
        assert bench.cli("logs", job, stdout=out).code == 0
    with path.open("rb") as lines:
        assert next(lines) == b"x" * 10_000_000 + b"\n"
        assert all(line == b"line %d\n" % number for number, line in enumerate(lines))
        assert lines.tell() == path.stat().st_size
    assert path.read_bytes().count(b"\n") == 1_000_001
    assert bench.cli("logs", job, "--tail", "2").out == "line 999998\nline 999999\n"


def test_a_reader_that_goes_away_is_no_error(bench: Bench) -> None:
    job = bench.submit(bench.job("piped", "seq 100000; sleep 1000"))
    bench.await_log(job, "99999")
    follower = bench.start("logs", "-f", job)
    head = subprocess.run(
        ["head", "-n", "3"], stdin=follower.stdout, stdout=subprocess.PIPE, check=True
    )
    follower.stdout.close()
    _, err = follower.communicate(timeout=90)
    assert head.stdout == b"1\n2\n3\n"
    assert (follower.returncode, err) == (0, b"")
    assert bench.cli("cancel", job).code == 0


def test_lines_of_two_streams_keep_their_own_order(bench: Bench) -> None:
    run = "for i in $(seq 50); do echo out $i; echo err $i >&2; done"
    done = bench.cli("submit", bench.job("streams", run), "--json")
    lines = [each for each in done.objects if "line" in each]
    for stream, name in (("stdout", "out"), ("stderr", "err")):
        own = [each["line"] for each in lines if each["stream"] == stream]
        assert own == [f"{name} {i + 1}" for i in range(50)]
    assert Counter(each["node"] for each in lines) == {0: 100}


def test_the_first_line_comes_while_the_job_runs(bench: Bench) -> None:
    """Not only whole segments travel."""
    child = subprocess.Popen(
        [*LLMCLOUD, "submit", bench.job("live", "echo first; sleep 1000")],
        env=bench.environ,
        cwd=bench.root,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    bench.started.append(child)
    assert child.stdout
    assert child.stdout.readline() == b"first\n"
    assert bench.cli("cancel", "live").code == 0
    assert bench.end(child).code == 8


def test_a_log_that_is_empty_is_said_to_be(bench: Bench) -> None:
    """Else it looks as if it could not be read."""
    job = bench.submit(bench.job("silent", "true"))
    assert bench.cli("wait", job).code == 0
    said = f"{job} has no log so far: llmcloud status {job}\n"
    for options, err in (((), said), (("--json",), said), (("--tail", "0"), ""), (("-f",), "")):
        done = bench.cli("logs", job, *options)
        assert (done.code, done.out, done.err) == (0, "", err)
