"""Machines by themselves: what is asked for, what they boot with, and what a command prints."""

from __future__ import annotations

import io
import itertools
import os
import re
import subprocess
import sys
import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcloud.cli import app, instances
from llmcloud.cli.instance_options import NEVER, Options, provider_of
from llmcloud.core import registry
from llmcloud.core.errors import UsageError
from llmcloud.core.home import Home
from llmcloud.core.instances import Ask, Instance, InstanceState, Seen
from llmcloud.core.provider import Offer
from llmcloud.core.rent import Landlord, Tenancy
from llmcloud.providers.aws import instance_request, names, sessions
from llmcloud.providers.aws.credentials import Account
from llmcloud.runtime import status
from llmcloud.runtime.errors import NotFound, PermissionDenied, Unavailable

if TYPE_CHECKING:
    from pathlib import Path

NOTHING = Options("", "", "", "", "", "", False, (), "8h", ())
GPU = replace(NOTHING, accelerator="A100:8")
OFFER = Offer("aws", "vm", "us-east-1", "p4d.24xlarge", 96, 1 << 40, 21.9, "A100", 8)
AT = "2026-11-22T10:00:00.000Z"
BOX = Instance("box", "i-1", "aws", "r", "ra", "t", InstanceState.STARTING, status.epoch_s(AT))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"accelerator": "A100"}, "--accelerator"),
        ({"cpus": "many"}, "--cpus"),
        ({"memory": "32"}, "--memory"),
        ({"disk": "big"}, "--disk"),
        ({"life": "8"}, "--for"),
        ({"labels": ("Team=nlp",)}, "--label"),
        ({"labels": ("team",)}, "--label team is not KEY=VALUE"),
        ({"instance_type": "p4d.24xlarge"}, "--type"),
    ],
    ids=str,
)
def test_what_is_wrong_is_told_by_its_option(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        replace(GPU, **change).spec("box", "aws")
    assert said in raised.value.what


def test_a_name_that_no_cloud_takes_is_refused() -> None:
    with pytest.raises(UsageError, match="NAME"):
        GPU.spec("Box!", "aws")


def test_some_machine_has_to_be_named() -> None:
    with pytest.raises(UsageError, match="which machine"):
        NOTHING.spec("box", "aws")


def test_the_options_become_a_machine() -> None:
    options = replace(GPU, disk="200GB", spot=True, regions=("us-east-1",), labels=("team=nlp",))
    spec = options.spec("box", "aws")
    assert str(spec.resources.accelerator) == "A100:8"
    assert (spec.resources.spot, str(spec.resources.disk)) == (True, "200GB")
    assert (spec.region, spec.labels) == (("us-east-1",), {"team": "nlp"})
    assert str(spec.limits.max_duration) == "8h"


def test_only_none_is_without_end() -> None:
    ask = Ask(replace(GPU, life="none").spec("box", "aws"), OFFER, AT)
    assert ask.expires_epoch_s is None
    assert names.instance_tags(ask, "me")["llmcloud:expires"] == "never"
    assert "EXPIRES" not in instance_request.user_data(ask)


@pytest.mark.parametrize(
    ("config", "named", "found"),
    [
        ("", "", ("aws", ())),
        ("provider: local\nregion: here\n", "", ("aws", ())),
        ("provider: aws\nregion: eu-west-1\n", "", ("aws", ("eu-west-1",))),
        ("region: eu-west-1\n", "aws", ("aws", ("eu-west-1",))),
        ("", "gcp", ("gcp", ())),
    ],
)
def test_the_config_file_says_where_unless_an_option_does(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: str,
    named: str,
    found: tuple[str, tuple[str, ...]],
) -> None:
    monkeypatch.delenv("LLMCLOUD_PROVIDER", raising=False)
    (tmp_path / "config.yaml").write_text(config)
    assert provider_of(named, Home(tmp_path, tmp_path / "config.yaml")) == found


def test_what_is_about_to_be_spent_fits_a_terminal(tmp_path: Path) -> None:
    cloud = registry.compute("aws", Home(tmp_path, tmp_path / "config.yaml"))
    for life in ("8h", NEVER):
        spec = replace(GPU, spot=False, life=life).spec("a-name-that-is-long", "aws")
        lines = instances._said(Tenancy.plan(spec, cloud, AT)).splitlines()
        assert max(map(len, lines)) <= 80
        assert lines[0].startswith("a-name-that-is-long: ")
        assert lines[1].startswith("$")


@pytest.mark.parametrize(
    ("regions", "code", "said"),
    [
        ([], 0, "There are no machines."),
        (["r1", "r2", "r2"], 4, "warning: not looked at: You may not. (r2)\nerror: You may not."),
    ],
)
def test_that_there_are_no_machines_is_said_only_where_it_is_known(
    regions: list[str],
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One that nobody sees costs all the same."""
    seen = Seen((), tuple(PermissionDenied("You may not.", where=each) for each in regions))
    cloud = SimpleNamespace(look=lambda **_: seen)
    monkeypatch.setattr(registry, "instances", lambda _: cloud)
    assert app.guarded(instances.list_instances) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert said in told.err
    assert told.err.count("r2") == bool(regions)


def test_the_machine_is_told_when_to_end() -> None:
    """In words that systemd and date understand, and a shell that is no bash."""
    ask = Ask(GPU.spec("box", "aws"), OFFER, AT)
    script = instance_request.user_data(ask)
    assert "EXPIRES='2026-11-22 18:00:00'" in script
    assert subprocess.run(["sh", "-n"], input=script, text=True, check=True)
    said = subprocess.run(
        ["date", "-u", "-d", "2026-11-22 18:00:00", "+%s"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert float(said) == ask.expires_epoch_s
    assert len(script.splitlines()) <= 30


@given(
    text=st.text(alphabet="a\n0 m", max_size=60).map(str.encode),
    code=st.integers(0, 255),
    cuts=st.lists(st.integers(0, 200), max_size=8),
)
def test_of_a_session_the_commands_output_alone_is_printed(
    text: bytes, code: int, cuts: list[int]
) -> None:
    """However it comes in pieces, and whether or not its last line has an end."""
    said = b"\nStarting session\nmark\n%s\nmark %d\n\n\nExiting session\n" % (text, code)
    assert _copied(said, cuts) == (code, text, b"")


def test_a_session_that_fails_says_so_on_stderr() -> None:
    said = b"\nStarting session\nCannot perform start session: EOF\n"
    assert _copied(said, []) == (None, b"", said)


def test_a_session_that_breaks_off_leaves_what_was_printed() -> None:
    assert _copied(b"mark\nhalf a line\nma", []) == (None, b"half a line\nma", b"")


def _copied(said: bytes, cuts: list[int]) -> tuple[int | None, bytes, bytes]:
    """Return how it ended, and what came out, of a stream that comes in pieces."""
    edges = sorted({0, len(said), *(min(cut, len(said)) for cut in cuts)})
    pieces = [said[start:end] for start, end in itertools.pairwise(edges)]
    out, err = io.TextIOWrapper(io.BytesIO()), io.TextIOWrapper(io.BytesIO())
    between = sessions.Between("mark")
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = out, err
    try:
        read, write = os.pipe()
        with os.fdopen(read, "rb", buffering=0) as stream:
            feeding = threading.Thread(target=_feed, args=(write, pieces))
            feeding.start()
            between.copy(stream)
            feeding.join()
    finally:
        sys.stdout, sys.stderr = before
    return between.code, out.buffer.getvalue(), err.buffer.getvalue()


def _feed(write: int, pieces: list[bytes]) -> None:
    for piece in pieces:
        os.write(write, piece)
    os.close(write)


@pytest.mark.parametrize("version", ["", "1.2.54.0", "1.2.497.0"])
def test_without_a_plugin_that_is_new_enough_it_is_said_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """Older ones are given the session's token for everyone on this machine to see."""
    if version:
        plugin = tmp_path / sessions.PLUGIN
        plugin.write_text(f"#!/bin/sh\necho {version}\n")
        plugin.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=sessions.PLUGIN) as raised:
        sessions.connect(Account(), BOX, "true")
    assert version in raised.value.what
    assert "dpkg -i" in raised.value.fix


class _Clock:
    """Time that passes only by waiting."""

    def __init__(self) -> None:
        self.now = 0.0

    def wait(self, seconds: float) -> None:
        self.now += seconds


class _Silent:
    """A provider whose machine never comes up, or never answers."""

    def __init__(self, state: InstanceState) -> None:
        self.state = state

    def describe(self, instance: Instance) -> Instance:
        return replace(instance, state=self.state)

    def is_reachable(self, _: Instance) -> bool:
        return False


@pytest.mark.parametrize(
    "state", [each for each in InstanceState if each is not InstanceState.RUNNING]
)
def test_a_machine_that_does_not_come_up_is_an_error_that_says_what_ends_it(
    state: InstanceState,
) -> None:
    clock = _Clock()
    landlord = Landlord(_Silent(state), clock=lambda: clock.now, wait=clock.wait)  # type: ignore[arg-type]
    with pytest.raises(Unavailable) as raised:
        landlord.await_ready(BOX)
    assert re.search("instances delete box", raised.value.fix)


def test_a_machine_that_does_not_answer_is_there_all_the_same() -> None:
    clock, told = _Clock(), list[str]()
    silent = _Silent(InstanceState.RUNNING)
    landlord = Landlord(silent, told.append, lambda: clock.now, clock.wait)  # type: ignore[arg-type]
    assert landlord.await_ready(BOX).state is InstanceState.RUNNING
    assert told[-1].startswith("warning")


def test_a_machine_that_ends_before_it_answers_is_not_said_to_run() -> None:
    """Its time was up, or it was a spot machine that was taken away at once."""
    clock, silent = _Clock(), _Silent(InstanceState.RUNNING)

    def wait(seconds: float) -> None:
        clock.wait(seconds)
        silent.state = InstanceState.ENDED

    landlord = Landlord(silent, clock=lambda: clock.now, wait=wait)  # type: ignore[arg-type]
    with pytest.raises(Unavailable, match="box has ended"):
        landlord.await_ready(BOX)


@pytest.mark.parametrize("name", ["../box", "a b", "", "Box", "box\n"])
def test_what_is_no_name_is_no_machines_and_reaches_no_service(name: str) -> None:
    nobody: Any = SimpleNamespace(provider="aws", look=lambda: Seen((BOX,)))
    with pytest.raises(NotFound, match="no machine") as raised:
        Landlord(nobody).places(name)
    assert "box" in raised.value.fix
