"""Processes: known for good, found by their tag, and ended with all that is below them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING

import pytest

from llmcloud.runtime import process
from llmcloud.runtime.process import Identity, identify

if TYPE_CHECKING:
    from collections.abc import Iterator

# Starts children that ignore SIGTERM: one in a session of its own, one without an environment.
FAMILY = """
trap '' TERM
setsid sleep 1000 &
env -i setsid sleep 1000 &
sleep 1000 &
echo $!
wait
"""


@pytest.fixture
def family() -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    tag = uuid.uuid4().hex
    child = subprocess.Popen(
        ["bash", "-c", FAMILY], env={**os.environ, "TEST_TAG": tag}, stdout=subprocess.PIPE
    )
    assert child.stdout
    child.stdout.readline()
    while len(children := process.below(child.pid)) < 3 or not all(map(_sleeps, children)):
        pass
    yield child, tag
    process.kill_below(child.pid)
    child.kill()
    child.wait()
    child.stdout.close()


def _sleeps(child: Identity) -> bool:
    """Tell whether it is what it shall be: before, it has its parent's environment."""
    return (process.PROC / str(child.pid) / "comm").read_text() == "sleep\n"


def test_a_pid_that_is_used_again_is_another_process() -> None:
    me = identify(os.getpid())
    assert me.is_alive
    assert not Identity(me.pid, me.started - 1).is_alive


def test_a_zombie_is_not_alive() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    identity = identify(child.pid)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not identity.is_alive
    assert child.wait() == 0
    assert not identify(child.pid).is_alive


def test_a_tree_is_found_and_ended_whole(family: tuple[subprocess.Popen[bytes], str]) -> None:
    child, _ = family
    found = process.below(child.pid)
    assert len(found) == 3
    process.kill_below(child.pid)
    assert not any(each.is_alive for each in found)
    assert process.below(child.pid) == []


def test_what_is_spared_keeps_its_tree() -> None:
    script = "bash -c 'sleep 1000 & echo $$ $!; wait' & sleep 1000 & echo $!; wait"
    with subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        said = sorted((parent.stdout.readline().split() for _ in range(2)), key=len)
        ((other,), (child, grandchild)) = [[int(each) for each in line] for line in said]
        process.kill_below(parent.pid, spare=[child])
        assert {each.pid for each in process.below(parent.pid)} == {child, grandchild}
        assert not identify(other).is_alive
        process.kill_below(parent.pid)


def test_a_tag_finds_those_that_were_started_with_it(
    family: tuple[subprocess.Popen[bytes], str],
) -> None:
    child, tag = family
    found = process.tagged("TEST_TAG", tag)
    assert child.pid in [each.pid for each in found]
    assert len(found) == 3  # not the one without an environment
    assert tag in process.tag_values("TEST_TAG")
    assert process.tagged("TEST_TAG", tag[:-1]) == []


def test_ending_by_tag_ends_those_below_too(family: tuple[subprocess.Popen[bytes], str]) -> None:
    child, tag = family
    everybody = [identify(child.pid), *process.below(child.pid)]
    process.kill_tagged("TEST_TAG", tag)
    assert not any(each.is_alive for each in everybody)


def test_a_signal_to_a_process_that_is_gone_has_been_had() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    process.send(child.pid, signal.SIGTERM)
