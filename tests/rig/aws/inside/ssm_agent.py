"""Stands in for the SSM agent of a machine: reports with the machine's role, and runs commands.

It runs as the real one does: in the machine, without any port, with the role's credentials.
"""

import base64
import contextlib
import json
import os
import subprocess
import time
import urllib.error
import urllib.request

METADATA = "http://169.254.169.254/latest"
TTL = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
CHUNK_BYTES = 1 << 16
RETRY_S = 0.5


def main():
    while True:
        try:
            token = ask(
                f"{METADATA}/api/token", "PUT", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
            )
            headers = {"X-aws-ec2-metadata-token": token}
            instance_id = ask(f"{METADATA}/meta-data/instance-id", "GET", headers)
            region = ask(f"{METADATA}/meta-data/placement/region", "GET", headers)
            ask(f"{METADATA}/meta-data/iam/security-credentials/", "GET", headers)
            cloud = f"https://ssm.{region}.amazonaws.com/_rig"
            wanted = tell(f"{cloud}/agent", instance_id=instance_id)
        except urllib.error.HTTPError:  # the machine has no role, or one that is not for this
            return
        except OSError:
            time.sleep(RETRY_S)
            continue
        if wanted:
            run(cloud, wanted)


def run(cloud, wanted):
    argv = ["sh", "-c", wanted["command"]]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as child:
        while some := os.read(child.stdout.fileno(), CHUNK_BYTES):
            say(cloud, wanted, some, is_over=False)
    say(cloud, wanted, b"", is_over=True)


def say(cloud, wanted, some, *, is_over):
    output = base64.b64encode(some).decode()
    tell(f"{cloud}/agent-said", session=wanted["session"], output=output, is_over=is_over)


def ask(url, verb, headers, body=None):
    request = urllib.request.Request(url, body, headers, method=verb)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.read().decode()


def tell(url, **said):
    return json.loads(ask(url, "POST", {}, json.dumps(said).encode()))


with contextlib.suppress(KeyboardInterrupt):
    main()
