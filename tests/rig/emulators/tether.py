"""Become another program that is killed when the process that started it ends, however it ends.

A script: `tether.py PARENT PROGRAM ARGUMENTS…`. Popen's preexec_fn could do the same, but not
safely in a process that has threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h

ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
if os.getppid() == int(sys.argv[1]):  # else it has ended already
    os.execvp(sys.argv[2], sys.argv[2:])
