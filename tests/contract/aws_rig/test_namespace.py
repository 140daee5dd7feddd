"""The rig's network: AWS is there under its real names, and nothing else is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.rig.aws import namespace, overlay
from tests.rig.aws.rig import tls_context
from tests.rig.aws.serving import serving
from tests.rig.gcs.server import Response
from tests.rig.waits import eventually

if TYPE_CHECKING:
    from tests.rig.aws.namespace import Namespace

ROOT = Path(__file__).parents[3]
NAMES = ["ec2.us-east-1.amazonaws.com", "a-bucket.s3.eu-west-1.amazonaws.com", "sts.amazonaws.com"]
# A rig with an instance that left processes behind in every way; it prints its folder.
LONG = """
import signal
from tests.rig.aws import hypervisor, namespace
from tests.rig.aws.machine import Boot

script = b"#!/bin/sh\\nsetsid sleep 1000 &\\ntouch /var/ready\\nsleep 1000\\n"
with namespace.opened() as space, hypervisor.running(space) as machines:
    at = ("us-east-1", "us-east-1a", "m5.large")
    machines.boot(Boot("i-left", "172.31.0.9", script, *at, 0, "ami-1"))
    space.popen(["sh", "-c", "setsid sleep 1000 & sleep 1000"])
    while not machines.written("i-left", "/var/ready").exists():
        pass
    print(space.scratch.parent, flush=True)
    signal.pause()
"""


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_aws_leads_to_the_rig(space: Namespace, name: str) -> None:
    found = space.run(["getent", "ahostsv4", name]).stdout.split()
    assert found[0] == namespace.SERVICES


def test_a_machine_is_found_by_its_private_name(space: Namespace) -> None:
    found = space.run(["getent", "ahostsv4", "ip-172-31-4-5.ec2.internal"]).stdout.split()
    assert found[0] == "172.31.4.5"


def test_no_other_name_is_known(space: Namespace) -> None:
    assert space.run(["getent", "hosts", "pypi.org"]).returncode == 2


def test_no_packet_has_a_way_out(space: Namespace) -> None:
    """No route covers the address, so that the kernel refuses at once."""
    program = "import socket; socket.create_connection(('192.0.2.1', 80), 5)"
    assert "Network is unreachable" in space.run([sys.executable, "-c", program]).stderr


def test_commands_run_where_they_were_started_and_not_in_our_process_tree(
    space: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = space.run(["sh", "-c", "pwd; ls -d /proc/[0-9]*"], {"LANG": "C"})
    cwd, *processes = done.stdout.split()
    assert cwd == str(tmp_path)
    assert f"/proc/{os.getpid()}" not in processes


@pytest.mark.parametrize("name", NAMES)
def test_a_certificate_for_the_name_is_trusted_without_any_option(
    space: Namespace, name: str
) -> None:
    """curl has the system's bundle."""
    host = lambda request: Response(chunks=[request.headers["host"].encode()])  # noqa: E731
    with serving(space.listener(namespace.SERVICES, 443), host, tls_context(space)):
        done = space.run(["env", "-u", "SSL_CERT_FILE", "curl", "-sS", f"https://{name}/"])
    assert (done.stdout, done.stderr) == (name, "")


def test_an_address_that_is_not_there_cannot_be_listened_on(space: Namespace) -> None:
    with pytest.raises(namespace.Unavailable, match="Cannot assign requested address"):
        space.listener("203.0.113.7", 80)


def test_a_command_ends_with_the_namespaces() -> None:
    if reason := namespace.unavailable():
        pytest.skip(reason)
    with namespace.opened() as space:
        process = space.popen(["sleep", "1000"])
        folder = space.scratch.parent
    assert process.wait(30) != 0
    assert not folder.exists()


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespace, "PATH", "/nowhere")
    with pytest.raises(namespace.Unavailable, match="unshare of util-linux is not installed"):
        namespace.opened().__enter__()


def test_a_refusal_of_the_kernel_is_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A user who may have no namespaces gets what unshare printed."""
    refused = tmp_path / "unshare"
    refused.write_text("#!/bin/sh\necho 'unshare failed: Operation not permitted' >&2\nexit 1\n")
    refused.chmod(0o755)
    monkeypatch.setattr(namespace, "PATH", f"{tmp_path}:{namespace.PATH}")
    with pytest.raises(namespace.Unavailable, match="ended: unshare failed: Operation not perm"):
        namespace.opened().__enter__()


def test_a_machine_without_overlays_cannot_have_the_rig(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What the first process of a root says last is the reason."""
    failing = tmp_path / "init.py"
    failing.write_text("raise OSError('no overlay')")
    monkeypatch.setattr(overlay, "ROOT_INIT", failing)
    reason = namespace.unavailable.__wrapped__()
    assert reason == "no root filesystems for the rig's machines: OSError: no overlay"


def test_kill_9_of_the_rig_leaves_nothing() -> None:
    """No process, no namespace; what its folder holds is removed by the next start."""
    if reason := namespace.unavailable():
        pytest.skip(reason)
    with subprocess.Popen(
        [sys.executable, "-c", LONG], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as rig:
        assert rig.stdout is not None
        folder = Path(rig.stdout.readline().strip())
        below = descendants(rig.pid)
        spaces = {kind for pid in below for kind in namespaces(pid)} - namespaces("self")
        assert sum(b"1000" in command_line(pid) for pid in below) >= 4
        assert len(spaces) >= 8
        rig.kill()
    eventually(lambda: not any(is_alive(pid) for pid in below))
    left = {kind for each in Path("/proc").glob("[0-9]*") for kind in namespaces(each.name)}
    assert not left & spaces
    assert str(folder) not in Path("/proc/self/mountinfo").read_text()
    assert namespace.BRIDGE not in Path("/proc/self/net/dev").read_text()
    assert folder.exists()
    namespace.sweep()
    assert not folder.exists()


def test_a_rig_that_runs_is_not_swept(space: Namespace) -> None:
    namespace.sweep()
    assert space.scratch.exists()


def descendants(pid: int) -> list[int]:
    parents = {}
    for each in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, _, rest = each.read_text().partition(" (")
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(number)] = int(rest.rpartition(") ")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def namespaces(pid: int | str) -> set[str]:
    kinds = ("net", "mnt", "pid", "uts", "ipc")
    try:
        return {str(Path(f"/proc/{pid}/ns/{kind}").readlink()) for kind in kinds}
    except OSError:  # ended, or another user's
        return set()


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that nobody has collected yet does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(") ")[2][0] not in "ZX"
