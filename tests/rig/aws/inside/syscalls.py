"""The system calls for namespaces and mounts that Python has only from 3.12 on, or not at all."""

import ctypes
import os

CLONE_NEWNS = 0x00020000  # linux/sched.h
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
MS_RDONLY = 1  # linux/mount.h
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8  # ST_… of statvfs(3) are the same
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2  # linux/fs.h
PR_SET_PDEATHSIG = 1  # linux/prctl.h

LIBC = ctypes.CDLL(None, use_errno=True)


def unshare(flags):
    _checked(LIBC.unshare(flags), "unshare")


def mount(source, target, kind="", flags=0, options=""):
    words = (source, target, kind)
    encoded = [None if word == "" else os.fsencode(word) for word in words]
    result = LIBC.mount(*encoded, ctypes.c_ulong(flags), options.encode() or None)
    _checked(result, f"mount {kind} {options} on {target}")


def overlay(lower, scratch, target):
    """Lay what is written to `target` over a folder; it goes to the same path in `upper`."""
    upper, work = (scratch / kind / lower.relative_to("/") for kind in ("upper", "work"))
    upper.mkdir(parents=True)
    work.mkdir(parents=True)
    folders = f"lowerdir={lower},upperdir={upper},workdir={work}"
    # Its marks are attributes that users may set too, for a user namespace.
    mount("overlay", target, "overlay", options=f"{folders},userxattr")


def make_read_only(target):
    kept = os.statvfs(target).f_flag & (MS_NOSUID | MS_NODEV | MS_NOEXEC)  # these may be locked
    mount("none", target, flags=MS_REMOUNT | MS_BIND | MS_RDONLY | kept)


def detach(target):
    _checked(LIBC.umount2(os.fsencode(target), MNT_DETACH), f"umount {target}")


def pivot_root(new, old):
    call = {"x86_64": 155, "aarch64": 41}[os.uname().machine]  # no libc has a function for it
    _checked(LIBC.syscall(call, os.fsencode(new), os.fsencode(old)), "pivot_root")


def die_with_parent(signal_number):
    _checked(LIBC.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "prctl")


def _checked(result, what):
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
