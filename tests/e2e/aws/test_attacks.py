"""What an unlucky or hostile world does to jobs on AWS: races, lost machines, odd input."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.e2e.conftest import eventually

if TYPE_CHECKING:
    from tests.e2e.aws.conftest import Submitter
    from tests.e2e.conftest import Done

SMALL = "resources: {cpus: 2}\n"


def job_in(done: Done) -> str:
    """Return the job that a submit says it made."""
    found = re.search(r"job (\S+) on aws", done.err)
    assert found, done.err
    return found[1]


def test_who_looks_while_a_job_is_resumed_does_not_take_it_for_lost(submitter: Submitter) -> None:
    """EC2 still knows the machines of before, which are gone, and not yet the new ones."""
    path = submitter.job("again", "[ $LLMCLOUD_ATTEMPT = 2 ] || exit 7", SMALL)
    done = submitter.cli("submit", path)
    assert done.code == 7, done.err
    job = job_in(done)
    submitter.control("faults", service="ec2", operation="RunInstances", hold=True)
    child = submitter.start("resume", job)
    held = eventually(lambda: submitter.rig.cloud.faults.held, "the launch is held")
    assert submitter.state(job)["state"] == "provisioning"
    assert submitter.cli("gc", "--yes").code == 0
    assert submitter.state(job)["state"] == "provisioning"
    submitter.control(f"held/{next(iter(held))}", fate="go")
    _, err = child.communicate(timeout=120)
    assert child.returncode == 0, err
    assert submitter.state(job)["attempt"] == 2
    assert submitter.left() == {}
