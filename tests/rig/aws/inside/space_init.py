"""The first process of the rig's namespaces: makes them ready, opens sockets in them on request.

Its standard input is a Unix socket of packets. The first one, {scratch, files, bridge, addresses,
routes}, is answered with {pid} (as the starter sees it) or {error}; each later one, {address, port,
kind}, with a listening socket. When the other end is gone, so is all that runs in here.
"""

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import syscalls

PACKET_BYTES = 1 << 20


def main():
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel collects orphans
    starter = socket.socket(fileno=os.dup(0))
    wanted = json.loads(starter.recv(PACKET_BYTES))
    pid = int(os.readlink("/proc/self"))  # before /proc is ours
    try:
        mount_all(Path(wanted["scratch"]), wanted["files"])
        connect(wanted["bridge"], wanted["addresses"], wanted["routes"])
    except OSError as error:
        starter.send(json.dumps({"error": str(error)}).encode())
        return
    starter.send(json.dumps({"pid": pid}).encode())
    while packet := starter.recv(PACKET_BYTES):
        answer(starter, json.loads(packet))


def mount_all(scratch, files):
    """Keep what is written in memory: an /etc with the rig's names and authority, a bare /run."""
    syscalls.mount("none", "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
    syscalls.mount("tmpfs", scratch, "tmpfs", options="mode=755")
    syscalls.mount("proc", "/proc", "proc")
    syscalls.mount("sysfs", "/sys", "sysfs")  # the network devices of this namespace
    syscalls.mount("tmpfs", "/run", "tmpfs", options="mode=755")
    syscalls.overlay(Path("/etc"), scratch, Path("/etc"))
    for path, content in files.items():
        at = Path(path)
        at.unlink(missing_ok=True)  # a link may lead to the machine's own resolver
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_text(content)


def connect(bridge, addresses, routes):
    """Make a network that leads to the instances and to nowhere else."""
    lines = ["link set lo up", f"link add {bridge} type bridge", f"link set {bridge} up"]
    lines += [f"address add {each}/32 dev {bridge}" for each in addresses]
    lines += [f"route add {each} dev {bridge}" for each in routes]
    ip(lines)


def ip(lines):
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    done = subprocess.run(
        ["ip", "-batch", "-"],
        input="\n".join(lines),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    if done.returncode != 0:
        raise OSError(f"ip: {done.stdout.strip()}")


def answer(starter, wanted):
    kind = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}[wanted["kind"]]
    with socket.socket(socket.AF_INET, kind) as made:
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((wanted["address"], wanted["port"]))
            if kind == socket.SOCK_STREAM:
                made.listen(128)
        except OSError as error:
            starter.send(json.dumps({"error": str(error)}).encode())
            return
        socket.send_fds(starter, [b"{}"], [made.fileno()])


main()
