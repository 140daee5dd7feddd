"""A shell or a command on a machine that nothing comes in to: by Session Manager and its plugin.

The plugin is started as the AWS command line does it (awscli/customizations/sessionmanager.py).
It always exits with 0 (github.com/aws/session-manager-plugin/issues/59) and says things of its own
on stdout, so that a command is run between two lines by which we know what is its own, and how it
ended. EC2 Instance Connect has no part in this: it asks for a rule that lets it in, endpoint or not
(docs.aws.amazon.com/AWSEC2/latest/UserGuide/connect.html).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
from typing import IO, TYPE_CHECKING, Any, TextIO, cast

from llmcloud.core.errors import UsageError
from llmcloud.providers.aws.errors import code_of, translated
from llmcloud.runtime.errors import PermissionDenied, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmcloud.core.instances import Instance
    from llmcloud.providers.aws.credentials import Account

PLUGIN = "session-manager-plugin"
RESPONSE = "AWS_SSM_START_SESSION_RESPONSE"
CHUNK_BYTES = 1 << 16
OLDEST = (1, 2, 497, 0)  # takes a session's token from the environment since the one after this
COMMAND_DOCUMENT = "AWS-StartNonInteractiveCommand"
NOT_CONNECTED = "TargetNotConnected"
INSTALL = (
    "Debian and Ubuntu: curl -O https://s3.amazonaws.com/session-manager-downloads/plugin/latest/"
    "ubuntu_64bit/session-manager-plugin.deb && sudo dpkg -i session-manager-plugin.deb\n"
    "macOS: brew install --cask session-manager-plugin\n"
    "others: https://docs.aws.amazon.com/systems-manager/latest/userguide/"
    "session-manager-working-with-install-plugin.html"
)


def is_connected(account: Account, instance: Instance) -> bool | None:
    """Tell whether Session Manager reaches a machine; None where we may not ask."""
    filters = [{"Key": "InstanceIds", "Values": [instance.id]}]
    try:
        with translated(f"{instance.region}, {instance.id}"):
            ssm = account.client_of("ssm", instance.region)
            found = ssm.describe_instance_information(Filters=filters)["InstanceInformationList"]
            return any(each["PingStatus"] == "Online" for each in found)
    except PermissionDenied:
        return None


def connect(account: Account, instance: Instance, command: str | None) -> int:
    """Have a shell in this terminal, in place of this program, or run a command to its end."""
    plugin = _plugin()
    if command is None:
        argv, environ = _session(account, instance, plugin, {"Target": instance.id})
        os.execvpe(argv[0], argv, environ)  # noqa: S606
    mark = secrets.token_hex(8)
    wrapped = f"echo {mark}; sh -c {shlex.quote(command)}; printf '\\n{mark} %s\\n' $?"
    asked = {
        "Target": instance.id,
        "DocumentName": COMMAND_DOCUMENT,
        "Parameters": {"command": [wrapped]},
    }
    argv, environ = _session(account, instance, plugin, asked)
    with _started(argv, environ) as child:
        reader = Between(mark)
        reader.copy(cast("IO[bytes]", child.stdout))
    if reader.code is None:
        raise Unavailable(
            "The session ended before the command did.",
            where=f"{instance.region}, {instance.id}",
            fix=f"What {PLUGIN} said is above; llmcloud instances list tells the machine's state.",
        )
    return reader.code


def _plugin() -> str:
    found = shutil.which(PLUGIN)
    if found is None:
        raise UsageError(f"This takes {PLUGIN}, which is not installed.", fix=INSTALL)
    said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout
    version = tuple(int(each) for each in re.findall(r"\d+", said))
    if version <= OLDEST:
        raise UsageError(
            f"{found} is too old ({said.strip()}): it would show the session's token to everyone "
            "on this machine.",
            fix=INSTALL,
        )
    return found


def _session(
    account: Account, instance: Instance, plugin: str, asked: dict[str, Any]
) -> tuple[list[str], dict[str, str]]:
    """Start a session, and return what to run for it, in which environment."""
    from botocore.exceptions import ClientError

    client = account.client_of("ssm", instance.region)
    with translated(f"{instance.region}, {instance.id}"):
        try:
            said = client.start_session(**asked)
        except ClientError as error:
            if code_of(error) != NOT_CONNECTED:
                raise
            raise Unavailable(
                f"Session Manager does not reach {instance.name}.",
                where=f"{instance.region}, {instance.id}",
                fix="It does a minute or so after the start, where the image has the SSM agent.",
            ) from error
        token = {name: said[name] for name in ("SessionId", "TokenValue", "StreamUrl")}
    argv = [plugin, RESPONSE, instance.region, "StartSession", "", json.dumps(asked)]
    return [*argv, client.meta.endpoint_url], {**os.environ, RESPONSE: json.dumps(token)}


@contextlib.contextmanager
def _started(argv: list[str], environ: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run the plugin: Ctrl-C is for it alone, and its stdin has no end, as it would end there."""
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        with subprocess.Popen(
            argv, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as child:
            yield child
    finally:
        signal.signal(signal.SIGINT, before)


class Between:
    """Copies to stdout what a command prints between its marks; what else is said, to stderr."""

    def __init__(self, mark: str) -> None:
        self.code: int | None = None  # how the command ended, once that is known
        self._begin, self._end = f"{mark}\n".encode(), f"\n{mark} ".encode()
        self._has_begun = False

    def copy(self, stream: IO[bytes]) -> None:
        """Copy a stream to its end."""
        held = b""
        while some := os.read(stream.fileno(), CHUNK_BYTES):
            held = self._copied(held + some)
        if self.code is None:
            _write(sys.stdout if self._has_begun else sys.stderr, held)

    def _copied(self, held: bytes) -> bytes:
        """Copy what is the command's beyond doubt, and return the rest."""
        if not self._has_begun:
            _, mark, rest = held.partition(self._begin)
            if not mark:
                return held
            self._has_begun, held = True, rest
        if self.code is not None:
            return b""
        own, mark, rest = held.partition(self._end)
        if mark and b"\n" in rest:
            self.code = int(rest.partition(b"\n")[0])
            held = b""
        elif not mark:
            # Its last line may be the beginning of the mark.
            at = held.rfind(b"\n")
            is_near = at >= 0 and self._end.startswith(held[at:])
            own, held = (held[:at], held[at:]) if is_near else (held, b"")
        else:
            held = mark + rest
        _write(sys.stdout, own)
        return held


def _write(stream: TextIO, text: bytes) -> None:
    stream.buffer.write(text)
    stream.flush()
