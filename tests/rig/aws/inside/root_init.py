"""Make a root filesystem of overlays, and be the first process of what runs in it.

The first line of standard input says what to run, each later one is a number: a signal for it. At
the end of the input all is killed. SIGPWR from inside switches off: SIGTERM for all, then the end.
"""

import base64
import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import syscalls

FRESH = ("dev", "proc", "run", "sys", "tmp")  # mounted anew
WITHOUT = ("boot", "lost+found", "media", "mnt", "snap", "srv")
# Where an overlay's folder could not be written to by a root who is an ordinary user outside.
OWN = {
    *("/etc", "/etc/ssl", "/etc/ssl/certs", "/home", "/opt", "/root", "/usr", "/usr/local"),
    *("/usr/local/bin", "/usr/sbin", "/var", "/var/cache", "/var/lib", "/var/log", "/var/tmp"),
}
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
GRACE_S = 5.0
KILLED = 128 + signal.SIGKILL


def main():
    wanted = json.loads(read_line())
    unshared = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWIPC
    with Path("/proc/self/ns/net").open() as rig_network:
        syscalls.unshare(unshared | syscalls.CLONE_NEWNET)
        connect(wanted, rig_network.fileno())
    socket.sethostname(wanted["hostname"])
    syscalls.unshare(syscalls.CLONE_NEWPID)  # the next child is the first process
    init = os.fork()
    if init:
        sys.exit(exit_code(os.waitpid(init, 0)[1]))
    syscalls.die_with_parent(signal.SIGKILL)
    change_root(wanted)
    supervise(wanted)


def read_line():
    """Read a line and nothing behind it: the rest is for whoever selects on the input."""
    line = b""
    while not line.endswith(b"\n"):
        line += os.read(0, 1) or sys.exit(KILLED)
    return line


def connect(wanted, rig_network):
    """Put this process's new network on the rig's bridge, with a route to its peers only."""
    ip(["link set lo up"])
    if wanted["address"] is None:
        return
    pid = os.getpid()
    there = ["nsenter", f"--net=/proc/self/fd/{rig_network}"]
    outside = f"rig{pid}"
    ip(
        [
            f"link add {outside} type veth peer name eth0 netns {pid}",
            f"link set {outside} master {wanted['bridge']} up",
        ],
        there,
        (rig_network,),
    )
    routes = [f"route add {each} dev eth0" for each in wanted["routes"]]
    ip([f"address add {wanted['address']}/32 dev eth0", "link set eth0 up", *routes])


def ip(lines, prefix=(), fds=()):
    argv = [*prefix, "ip", "-batch", "-"]
    subprocess.run(argv, input="\n".join(lines).encode(), pass_fds=fds, check=True)


def change_root(wanted):
    """Assemble the root: overlays over this machine's folders, what is mounted anew, files."""
    syscalls.mount("none", "/", flags=syscalls.MS_REC | syscalls.MS_PRIVATE)
    scratch = Path(wanted["scratch"])
    root = scratch / "root"
    root.mkdir(parents=True)
    syscalls.mount(root, root, flags=syscalls.MS_BIND)
    is_root_outside = Path("/").stat().st_uid == 0
    written = {path for path, _, _ in wanted["files"]}
    for each in Path("/").iterdir():
        if each.name in FRESH + WITHOUT:
            (root / each.name).mkdir()
        elif each.is_symlink() or is_root_outside:
            lay(each, root / each.name, scratch)
        else:
            rebuild(each, root / each.name, scratch, written)
    mount_fresh(root)
    for path, content, mode in wanted["files"]:
        if is_place(root / path.lstrip("/"), root / "sys"):
            write(root / path.lstrip("/"), base64.b64decode(content), mode)
    for source, target in wanted["binds"]:
        bind(Path(source), root / target.lstrip("/"))
    os.chdir(root)
    syscalls.pivot_root(".", ".")
    syscalls.detach(".")
    os.chdir("/")


def lay(source, target, scratch):
    if source.is_symlink():
        target.symlink_to(source.readlink())
    elif source.is_dir():
        target.mkdir()
        syscalls.overlay(source, scratch, target)
    elif source.parent != Path("/"):
        bind(source, target)
        syscalls.make_read_only(target)


def rebuild(source, target, scratch, written):
    """Lay a folder, but where it is one of OWN each of its entries by itself."""
    if source.is_symlink() or str(source) not in OWN:
        lay(source, target, scratch)
        return
    target.mkdir()
    if not os.access(source, os.R_OK | os.X_OK):
        return
    for each in source.iterdir():
        if str(each) not in written:  # what is mounted could not be replaced
            rebuild(each, target / each.name, scratch, written)


def mount_fresh(root):
    syscalls.mount("proc", root / "proc", "proc")
    syscalls.mount("sysfs", root / "sys", "sysfs", syscalls.MS_RDONLY)
    for name in ("dev", "run", "tmp"):
        mode = "mode=1777" if name == "tmp" else "mode=755"
        syscalls.mount("tmpfs", root / name, "tmpfs", options=mode)
    for name in DEVICES:
        bind(Path("/dev", name), root / "dev" / name)
    for name, target in {"fd": "fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}.items():
        (root / "dev" / name).symlink_to(f"/proc/self/{target}")
    (root / "dev" / "shm").mkdir()
    (root / "dev" / "shm").chmod(0o1777)


def is_place(at, system):
    """Make a folder of /sys replaceable, where the kernel has it; others need nothing."""
    if system not in at.parents:
        return True
    if not at.parent.exists():
        return False
    if not os.access(at.parent, os.W_OK):
        syscalls.mount("tmpfs", at.parent, "tmpfs", options="mode=755")
    return True


def write(at, content, mode):
    at.parent.mkdir(parents=True, exist_ok=True)
    at.unlink(missing_ok=True)  # a link may lead elsewhere
    at.write_bytes(content)
    at.chmod(mode)


def bind(source, target):
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    syscalls.mount(source, target, flags=syscalls.MS_BIND | syscalls.MS_REC)


def supervise(wanted):
    """Run the command; forward signals, collect orphans, and end as it does."""
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    for number in (signal.SIGCHLD, signal.SIGPWR):
        signal.signal(number, lambda *_: None)
    command = start(wanted)
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        selector.register(woken, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd == 0:
                    os.kill(command, int(read_line()))
                elif signal.SIGPWR in os.read(woken, 64):
                    switch_off()
            for pid, status in ended():
                if pid == command:
                    os._exit(exit_code(status))


def exit_code(status):
    """Return what a shell would say of a child's end."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def start(wanted):
    command = subprocess.Popen(
        wanted["argv"],
        env=wanted["environ"],
        cwd=wanted["folder"],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    command.returncode = 0  # it is collected here, not by subprocess
    return command.pid


def ended():
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            yield found


def switch_off():
    """Let all processes end by themselves for a while; the kernel kills those that do not."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while time.monotonic() < deadline:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.01)
        except ChildProcessError:  # none is left
            break
    os._exit(0)


main()
