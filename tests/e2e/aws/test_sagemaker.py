"""Training jobs of SageMaker, end to end: the same job file with one line changed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from moto.backends import get_backend
from tests.e2e.aws.conftest import BUCKET, COUNTS, MEET, PYTHON, REGION, assert_met
from tests.rig.aws.account import ACCOUNT
from tests.rig.aws.sagemaker_logs import GROUP
from tests.rig.waits import eventually

from llmcloud.runtime import layout

if TYPE_CHECKING:
    from tests.e2e.aws.conftest import Submitter

MANAGED = "service: managed\n"


def test_a_job_trains_in_a_container_and_what_it_made_is_pulled(submitter: Submitter) -> None:
    run = f"{PYTHON} train.py 5; mkdir -p results; echo done > results/said"
    more = MANAGED + "outputs: [results]\n"
    job = submitter.submit(submitter.job("counts", run, more, train__py=COUNTS))
    done = submitter.cli("wait", job)
    assert done.code == 0, (done.err, submitter.log(job))
    assert "step 5 loss=0.2" in submitter.log(job)
    there = submitter.root / "pulled"
    pulled = submitter.cli("checkpoints", "pull", job, "--to", str(there), "--latest")
    assert pulled.code == 0, pulled.err
    (saved,) = there.rglob("step-5.json")
    assert json.loads(saved.read_text()) == {"step": 5, "sum": 15}
    found = submitter.rig.sagemaker.job(f"llmcloud-{job}-1")
    eventually(lambda: found.status == "Completed", f"{found.status} {found.reason}")
    assert submitter.state(job)["region"] == REGION
    assert submitter.left() == {}


def test_a_job_that_is_cancelled_ends_its_training_job(submitter: Submitter) -> None:
    job = submitter.submit(
        submitter.job("endless", f"{PYTHON} train.py 9999", MANAGED, train__py=COUNTS)
    )
    submitter.await_log(job, "step 1 ")
    assert submitter.cli("cancel", job).code == 0
    assert submitter.cli("wait", job).code == 8
    found = submitter.rig.sagemaker.job(f"llmcloud-{job}-1")
    eventually(lambda: found.is_over, f"{found.status} is over")


def test_spot_machines_that_are_taken_away_cost_no_step_that_was_saved(
    submitter: Submitter,
) -> None:
    more = MANAGED + "resources: {spot: true}\ncheckpoints: {interval: 1s}\n"
    job = submitter.submit(submitter.job("spotty", f"{PYTHON} train.py 24", more, train__py=COUNTS))
    submitter.await_log(job, "Checkpoint ")
    name = f"llmcloud-{job}-1"
    submitter.rig.sagemaker.interrupt(name)
    assert submitter.cli("wait", job).code == 0, submitter.log(job)
    begins = [line for line in submitter.log(job).splitlines() if "begins after" in line]
    assert len(begins) == 2
    assert int(begins[1].split()[-1]) >= 1
    found = submitter.rig.sagemaker.job(name)
    eventually(lambda: found.is_over, f"{found.status} is over")
    passed = [each["Status"] for each in found.transitions]
    assert passed.count("Interrupted") == 1
    assert found.status == "Completed"
    assert submitter.state(job)["attempt"] == 2


def test_a_job_goes_on_when_the_service_has_replaced_its_machines(submitter: Submitter) -> None:
    more = MANAGED + "limits: {retries: 1}\ncheckpoints: {interval: 1s}\n"
    job = submitter.submit(
        submitter.job("crashes", f"{PYTHON} train.py 16", more, train__py=COUNTS)
    )
    submitter.await_log(job, "Checkpoint ")
    submitter.rig.sagemaker.crash(f"llmcloud-{job}-1")
    assert submitter.cli("wait", job).code == 0, submitter.log(job)
    begins = [line for line in submitter.log(job).splitlines() if "begins after" in line]
    assert [int(line.split()[-1]) > 0 for line in begins] == [False, True]


def test_why_a_job_failed_is_shown_here_and_by_the_service(submitter: Submitter) -> None:
    job = submitter.submit(submitter.job("fails", "echo trying; exit 3", MANAGED))
    done = submitter.cli("wait", job)
    assert done.code == 7
    assert "exit code 3" in submitter.state(job)["error"]
    found = submitter.rig.sagemaker.job(f"llmcloud-{job}-1")
    eventually(lambda: found.is_over, f"{found.status} is over")
    assert found.status == "Failed"
    assert "exit code 3 on node 0" in found.reason


def test_why_a_container_could_not_start_its_node_is_shown(submitter: Submitter) -> None:
    """It shipped no log: what it printed is in CloudWatch alone."""
    job = submitter.submit(submitter.job("damaged", "true", MANAGED))
    assert submitter.cli("wait", job).code == 0
    key = layout.runtime(json.loads(submitter.object(layout.job_document(job)))["runtime"])
    s3 = submitter.client("s3")
    s3.put_object(Bucket=BUCKET, Key=key, Body=b"PK?")
    done = submitter.cli("submit", submitter.job("again", "true", MANAGED))
    assert done.code == 7, done.err
    assert "FAILED" in done.out
    assert "AlgorithmError: , exit code: 1" in done.err
    s3.delete_object(Bucket=BUCKET, Key=key)


def test_two_hosts_find_one_another(submitter: Submitter) -> None:
    more = MANAGED + "resources: {nodes: 2}\n"
    job = submitter.submit(submitter.job("two", f"{PYTHON} meet.py", more, meet__py=MEET))
    assert submitter.cli("wait", job).code == 0, submitter.log(job)
    assert_met(submitter.log(job))


def test_roles_are_groups_and_each_host_knows_its_own(submitter: Submitter) -> None:
    more = (
        MANAGED
        + """\
launcher: tensorflow
roles:
  chief: {cpus: 2+}
  worker: {cpus: 2+, count: 2}
"""
    )
    job = submitter.submit(submitter.job("roles", 'echo "$LLMCLOUD_ROLE: $TF_CONFIG"', more))
    assert submitter.cli("wait", job).code == 0, submitter.log(job)
    said = [line for line in submitter.log(job).splitlines() if "cluster" in line]
    tasks = [json.loads(line[line.index("{") :])["task"] for line in said]
    assert sorted((each["type"], each["index"]) for each in tasks) == [
        ("chief", 0),
        ("worker", 0),
        ("worker", 1),
    ]


def test_data_comes_through_the_services_channels(submitter: Submitter) -> None:
    run = "cat words/a.txt mounted/b.txt; readlink words first.txt mounted"
    more = (
        MANAGED
        + f"""\
data:
  - {{source: corpus, target: words}}
  - {{source: one.txt, target: first.txt}}
  - {{source: "s3://{BUCKET}/shared/tokens", target: mounted, mode: mount}}
"""
    )
    path = submitter.job("data", run, more, one__txt="one\n")
    corpus = submitter.root / "data" / "corpus"
    corpus.mkdir()
    (corpus / "a.txt").write_text("alpha\n")
    submitter.client("s3").put_object(Bucket=BUCKET, Key="shared/tokens/b.txt", Body=b"beta")
    job = submitter.submit(path)
    assert submitter.cli("wait", job).code == 0, submitter.log(job)
    log = submitter.log(job)
    assert "alpha" in log
    assert "beta" in log
    assert "/opt/ml/input/data/data-2" in log
    assert "/opt/ml/input/data/data-0" in log
    assert "/opt/ml/input/data/data-1/one.txt" in log


def test_a_secret_reaches_the_training_and_nothing_else(submitter: Submitter) -> None:
    """What a node ships it prints as well, so that CloudWatch has it: all but secrets."""
    run = 'test "$TOKEN" = sesame && echo "it is $TOKEN"; echo hello >&2'
    path = submitter.job("secret", run, MANAGED + "secrets: [TOKEN]\n")
    done = submitter.cli("submit", path, "--detach", "--json", env={"TOKEN": "sesame"})
    assert done.code == 0, done.err
    job = str(done.document["job"])
    assert submitter.cli("wait", job).code == 0, submitter.log(job)
    streams = get_backend("logs")[ACCOUNT][REGION].groups[GROUP].streams
    (own,) = [each for name, each in streams.items() if name.startswith(f"llmcloud-{job}-1/")]
    printed = "\n".join(event.message for event in own.events)
    request = str(submitter.rig.sagemaker.job(f"llmcloud-{job}-1").request)
    for said in (submitter.log(job), printed):
        assert "it is" in said
        assert "hello" in said
        assert "sesame" not in said
    assert "sesame" not in request
