"""Emulators start once, on a port of their own, and are gone when the tests are."""

from __future__ import annotations

import socket
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest
import requests
from tests.rig.emulators import catalog, server
from tests.rig.waits import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.rig.emulators.catalog import Emulators


def answers(url: str) -> bool:
    try:
        requests.get(url, timeout=10)
    except requests.ConnectionError:
        return False
    return True


def test_an_emulator_is_started_once(emulators: Emulators) -> None:
    assert emulators.get("fake_gcs_server") is emulators.get("fake_gcs_server")


def test_an_emulator_is_gone_at_the_end_of_its_block(tmp_path: Path) -> None:
    with catalog.fake_gcs_server(tmp_path) as emulator:
        assert answers(emulator.url)
    assert not answers(emulator.url)


def test_an_emulator_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    """…also when that is killed."""
    code = f"""
        import signal
        from pathlib import Path
        from tests.rig.emulators.catalog import moto
        with moto(Path({str(tmp_path)!r})) as emulator:
            print(emulator.url, flush=True)
            signal.pause()
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, cwd=catalog.ROOT, stdout=subprocess.PIPE, text=True) as test:
        assert test.stdout
        url = test.stdout.readline().strip()
        assert answers(url)
        test.kill()
    eventually(lambda: not answers(url), f"nothing answers at {url}")


def test_an_emulator_that_does_not_start_shows_what_it_printed(tmp_path: Path) -> None:
    command = server.Command([sys.executable, "-c", "raise SystemExit('no such luck')"])
    with (
        pytest.raises(server.NotStarted, match="no such luck"),
        server.running(lambda _: command, tmp_path),
    ):
        pass


def test_an_emulator_whose_port_was_taken_meanwhile_gets_another(tmp_path: Path) -> None:
    """…also one that does not end when it can't listen, like gcp-storage-emulator."""
    taken: list[socket.socket] = []

    def command(port: int) -> server.Command:
        if not taken:
            taken.append(socket.create_server(("127.0.0.1", port)))
        argv = [sys.executable, "-m", "gcp_storage_emulator", "start", "--in-memory"]
        return server.Command([*argv, "--host", "127.0.0.1", "--port", str(port)])

    with server.running(command, tmp_path) as port:
        with taken[0] as other:
            assert port != other.getsockname()[1]
        assert answers(f"http://127.0.0.1:{port}")
