"""The first process of the rig's namespaces: makes them ready, opens sockets in them on request.

Its standard input is a Unix socket of packets. The first one, {scratch, files, bridge, addresses,
routes, services, resolver}, is answered with {pid} (as the starter sees it) or {error}; each later
one, {address, port}, with a listening socket. When the other end is gone, so is all in here.
"""

import json
import os
import selectors
import signal
import socket
import subprocess
from pathlib import Path

import names
import syscalls

PACKET_BYTES = 1 << 20
MAC = "02:00:00:00:00:01"  # else it would be the lowest of its ports', and change as they go


def main():
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel collects orphans
    starter = socket.socket(fileno=os.dup(0))
    wanted = json.loads(starter.recv(PACKET_BYTES))
    pid = int(str(Path("/proc/self").readlink()))  # before /proc is ours
    try:
        mount_all(Path(wanted["scratch"]), wanted["files"])
        connect(wanted)
        resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        resolver.bind((wanted["resolver"], 53))
    except OSError as error:
        starter.send(json.dumps({"error": str(error)}).encode())
        return
    starter.send(json.dumps({"pid": pid}).encode())
    serve(starter, resolver, wanted["services"])


def mount_all(scratch, files):
    """Give a /run of its own, and over files of /etc those with the rig's names and authority."""
    syscalls.mount("none", "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
    syscalls.mount("tmpfs", scratch, "tmpfs", options="mode=755")
    syscalls.mount("proc", "/proc", "proc")
    syscalls.mount("sysfs", "/sys", "sysfs")  # the network devices of this namespace
    syscalls.mount("tmpfs", "/run", "tmpfs", options="mode=755")
    for path, content in files.items():
        own = scratch / path.replace("/", "-")
        own.write_text(content)
        at = Path(path).resolve()
        if at.is_relative_to("/run"):  # where a link led to what is not there any more
            at.parent.mkdir(parents=True, exist_ok=True)
            at.touch()
        syscalls.mount(own, at, flags=syscalls.MS_BIND)


def connect(wanted):
    """Make a network that leads to the instances and to nowhere else."""
    bridge = wanted["bridge"]
    lines = ["link set lo up", f"link add {bridge} address {MAC} type bridge"]
    lines.append(f"link set {bridge} up")
    lines += [f"address add {each}/32 dev {bridge}" for each in wanted["addresses"]]
    lines += [f"route add {each} dev {bridge}" for each in wanted["routes"]]
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


def serve(starter, resolver, services):
    """Answer the starter and who asks for names, until the starter is gone."""
    with selectors.DefaultSelector() as selector:
        selector.register(starter, selectors.EVENT_READ)
        selector.register(resolver, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is resolver:
                    names.serve_one(resolver, services)
                elif packet := starter.recv(PACKET_BYTES):
                    answer(starter, json.loads(packet))
                else:
                    return


def answer(starter, wanted):
    try:
        made = socket.create_server((wanted["address"], wanted["port"]), backlog=256)
    except OSError as error:
        starter.send(json.dumps({"error": str(error)}).encode())
        return
    with made:
        socket.send_fds(starter, [b"{}"], [made.fileno()])


main()
