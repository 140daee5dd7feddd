"""All of the miniature AWS together: the cloud under its real names, and machines that boot."""

from __future__ import annotations

import contextlib
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.rig.aws import hypervisor, namespace, sagemaker_s3
from tests.rig.aws.cloud import Cloud, Options
from tests.rig.aws.sagemaker import SageMaker
from tests.rig.aws.sagemaker_containers import Overlays
from tests.rig.aws.sagemaker_run import Means
from tests.rig.aws.serving import serving
from tests.rig.emulators.catalog import REGION, ministack

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping, Sequence

    from tests.rig.aws.hypervisor import Machines
    from tests.rig.aws.namespace import Namespace


GRACE_S = 10.0  # of a training job, between SIGTERM and SIGKILL: two minutes in AWS


@dataclass(frozen=True)
class Rig:
    """What a test works with: commands run inside, all else is at hand in this process."""

    space: Namespace
    cloud: Cloud
    machines: Machines
    sagemaker: SageMaker

    def reset(self) -> None:
        """Be a new account without machines; S3 keeps what it has."""
        self.machines.kill_all()
        self.cloud.reset()

    @property
    def environ(self) -> dict[str, str]:
        """Return the variables of a submitter: credentials, a region and whom to trust."""
        return {
            **self.space.environ,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": "/dev/null",  # whatever this machine's user has set
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }

    def run(
        self, argv: Sequence[str], environ: Mapping[str, str] | None = None, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside as a submitter, to its end."""
        return self.space.run(argv, {**self.environ, **(environ or {})}, timeout_s)

    def popen(
        self, argv: Sequence[str], environ: Mapping[str, str], **options: Any
    ) -> subprocess.Popen[Any]:
        """Start a command inside as a submitter; `environ` is added to the submitter's only."""
        return self.space.popen(argv, {**self.environ, **environ}, **options)


@contextlib.contextmanager
def up() -> Iterator[Rig]:
    """Start everything; namespace.Unavailable where this machine cannot."""
    with contextlib.ExitStack() as stack:
        space = stack.enter_context(namespace.opened())
        folder = space.scratch.parent  # which the next start removes if this is killed
        objects = folder / "s3"
        objects.mkdir()
        storage = stack.enter_context(ministack(objects))
        machines = stack.enter_context(hypervisor.running(space))
        sagemaker = _sagemaker(space, storage.url, stack)
        options = Options(s3_url=storage.url, hypervisor=machines, services=[sagemaker.service])
        cloud = stack.enter_context(Cloud(options))
        stack.callback(sagemaker.stop_all)
        listener = space.listener(namespace.SERVICES, 443)
        stack.enter_context(serving(listener, cloud.answer, tls_context(space)))
        yield Rig(space, cloud, machines, sagemaker)


def _sagemaker(space: Namespace, s3_url: str, stack: contextlib.ExitStack) -> SageMaker:
    overlays = Overlays(space)
    stack.enter_context(overlays.serving())
    jobs = space.scratch.parent / "sagemaker"
    jobs.mkdir()
    return SageMaker(Means(sagemaker_s3.client(s3_url), jobs, overlays, grace_s=GRACE_S))


def tls_context(space: Namespace) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(space.tls.server, space.tls.key)
    return context
