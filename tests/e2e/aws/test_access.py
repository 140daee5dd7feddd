"""What a node may do, with every policy enforced: its own job's part of the store, and no more."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from tests.e2e.aws.conftest import BUCKET, PYTHON
from tests.rig.aws.account import SUBMITTER

if TYPE_CHECKING:
    from tests.e2e.aws.conftest import Submitter

# Asks with the role of the machine it runs on, by the SDK, and says how each request ended.
TRIES = """
    import json, os, boto3
    os.environ["AWS_CA_BUNDLE"] = "/etc/ssl/certs/ca-certificates.crt"  # the rig's own
    from botocore.exceptions import ClientError
    s3 = boto3.client("s3", os.environ["AWS_REGION"])
    bucket, own, other = os.environ["BUCKET"], os.environ["OWN"], os.environ["OTHER"]
    asked = {
        "read its own": lambda: s3.get_object(Bucket=bucket, Key=f"jobs/{own}/job.json"),
        "write its own": lambda: s3.put_object(Bucket=bucket, Key=f"jobs/{own}/x", Body=b""),
        "list its own": lambda: s3.list_objects_v2(Bucket=bucket, Prefix=f"jobs/{own}/"),
        "read another's": lambda: s3.get_object(Bucket=bucket, Key=f"jobs/{other}/job.json"),
        "write another's": lambda: s3.put_object(Bucket=bucket, Key=f"jobs/{other}/x", Body=b""),
        "delete another's": lambda: s3.delete_object(Bucket=bucket, Key=f"jobs/{other}/job.json"),
        "list another's": lambda: s3.list_objects_v2(Bucket=bucket, Prefix=f"jobs/{other}/"),
        "list all": lambda: s3.list_objects_v2(Bucket=bucket),
        "write code": lambda: s3.put_object(Bucket=bucket, Key="code/x", Body=b""),
        "take a name": lambda: s3.put_object(Bucket=bucket, Key="names/x.json", Body=b""),
        "list machines": lambda: boto3.client("ec2", "us-east-1").describe_instances(),
        "read secrets": lambda: boto3.client("ssm", "us-east-1").get_parameters_by_path(
            Path=f"/llmcloud/{other}"),
    }
    said = {}
    for name, ask in asked.items():
        try:
            ask()
            said[name] = "may"
        except ClientError as error:
            said[name] = error.response["Error"]["Code"]
    print("said " + json.dumps(said), flush=True)
"""


def test_a_node_reaches_its_own_job_and_nothing_else(submitter: Submitter) -> None:
    submitter.control("knobs", enforces_iam=True)
    other = submitter.submit(submitter.job("other", "true"))
    assert submitter.cli("wait", other).code == 0, submitter.log(other)
    own = submitter.job("own", f"OWN=$LLMCLOUD_JOB {PYTHON} tries.py", tries__py=TRIES)
    done = submitter.cli(
        "submit", own, "--set", f"env.OTHER={other}", "--set", f"env.BUCKET={BUCKET}"
    )
    assert done.code == 0, done.err
    (line,) = (line for line in done.out.splitlines() if line.startswith("said "))
    said = json.loads(line.removeprefix("said "))
    assert {name for name, how in said.items() if how == "may"} == {
        "read its own",
        "write its own",
        "list its own",
    }
    denied = {"AccessDenied", "UnauthorizedOperation", "AccessDeniedException"}
    assert set(said.values()) - {"may"} <= denied


def test_no_key_and_no_secret_is_in_what_a_machine_is_made_with(submitter: Submitter) -> None:
    """Neither the submitter's credentials nor a secret's value: user data, tags, store, log."""
    run = 'echo "it is $TOKEN"; sleep 1000'
    path = submitter.job("hidden", run, "secrets: [TOKEN]\n")
    keys = dict(zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), SUBMITTER, strict=True))
    own = {"TOKEN": "open-sesame", **keys}
    done = submitter.cli("submit", path, "--detach", "--json", env=own)
    assert done.code == 0, done.err
    job = str(done.document["job"])
    submitter.await_log(job, "it is ***")
    (instance,) = submitter.instances()
    ec2 = submitter.client("ec2")
    data = ec2.describe_instance_attribute(InstanceId=instance["InstanceId"], Attribute="userData")[
        "UserData"
    ]["Value"]
    objects = submitter.client("s3").list_objects_v2(Bucket=BUCKET, Prefix=f"jobs/{job}/")
    texts = [submitter.object(each["Key"]) for each in objects["Contents"]]
    texts += [base64.b64decode(data), json.dumps(instance, default=str).encode()]
    hidden = [b"open-sesame", SUBMITTER[1].encode()]
    assert not [text for text in texts for each in hidden if each in text]
    assert submitter.cli("cancel", job).code == 0
    assert submitter.left() == {}
