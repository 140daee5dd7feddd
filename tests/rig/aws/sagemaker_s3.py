"""Between S3 and a container's folders, as SageMaker copies: channels in, checkpoints both ways."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from tests.rig.aws import access
from tests.rig.aws.account import ACCOUNT, REGION
from tests.rig.aws.call import Refusal
from tests.rig.aws.policy import Asked
from tests.rig.aws.resources import S3_ACTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.rig.aws.world import World


class Denied(Exception):
    """What a job's role may not do."""


def as_role(s3: Any, role: str, world: World) -> Any:
    """Return a client that does what a job's role may do, and raises Denied for the rest."""

    def check(params: Mapping[str, Any], model: Any, **_: Any) -> None:
        with world.lock:
            if world.knobs.enforces_iam and not _may(role, model.name, params):
                url = f"s3://{params['Bucket']}/{params.get('Key', '')}"
                raise Denied(f"{model.name} {url} (AccessDenied: Access Denied)")

    made = client(s3.meta.endpoint_url)
    made.meta.events.register("provide-client-params.s3", check)
    return made


def _may(role: str, operation: str, params: Mapping[str, Any]) -> bool:
    try:
        documents = access.documents_of(role)
    except Refusal:  # it is gone, and its credentials with it
        return False
    session = f"arn:aws:sts::{ACCOUNT}:assumed-role/{role.rpartition('/')[2]}/SageMaker"
    resource = "/".join(filter(None, (f"arn:aws:s3:::{params['Bucket']}", params.get("Key"))))
    context = {"s3:prefix": [params["Prefix"]]} if "Prefix" in params else {}
    asked = Asked(f"s3:{S3_ACTIONS.get(operation, operation)}", resource, context)
    return access.may(access.Principal(session, "", None, documents), asked, REGION)


def client(url: str) -> Any:
    """Return a client of the emulator that keeps S3: whoever this is, they may do all."""
    own = {"aws_access_key_id": "sagemaker", "aws_secret_access_key": "sagemaker"}
    config = Config(s3={"addressing_style": "path"})
    return boto3.client("s3", endpoint_url=url, region_name=REGION, config=config, **own)


def has_any(s3: Any, source: dict[str, Any]) -> bool:
    """Tell whether there is something under a channel's source that may be seen."""
    try:
        return next(objects(s3, source), None) is not None
    except Denied:
        return False


def objects(s3: Any, source: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the bucket, the key and the path in the channel's folder of all that is in a source."""
    bucket, prefix = split(source["S3Uri"])
    if source["S3DataType"] == "ManifestFile":
        manifest = json.loads(s3.get_object(Bucket=bucket, Key=prefix)["Body"].read())
        base = manifest[0]["prefix"]
        for name in manifest[1:]:
            yield (*split(base + name), name)
        return
    for key in keys(s3, bucket, prefix):
        inside = key[len(prefix) :] if prefix.endswith("/") or not prefix else _below(key, prefix)
        if inside and not key.endswith("/"):
            yield bucket, key, inside


def keys(s3: Any, bucket: str, prefix: str) -> Iterator[str]:
    """Yield the keys below a prefix; none where there is no such bucket."""
    try:
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for each in page.get("Contents", ()):
                yield each["Key"]
    except s3.exceptions.NoSuchBucket:
        return


def fill(s3: Any, source: dict[str, Any], folder: Path) -> None:
    """Copy what a source has into a channel's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for bucket, key, inside in objects(s3, source):
        target = folder / PurePosixPath(inside)
        target.parent.mkdir(parents=True, exist_ok=True)
        s3.download_file(bucket, key, str(target))


def restore(s3: Any, uri: str, folder: Path) -> None:
    """Bring the folder of the checkpoints to what S3 has."""
    fill(s3, {"S3DataType": "S3Prefix", "S3Uri": uri.rstrip("/") + "/"}, folder)


def push(s3: Any, folder: Path, uri: str, seen: dict[Path, tuple[int, int]]) -> None:
    """Copy to S3 what is new or has changed in a folder; `seen` keeps what was sent."""
    bucket, prefix = split(uri.rstrip("/") + "/")
    for path in sorted(folder.rglob("*")):
        try:
            stat = path.stat()
            mark = (stat.st_size, stat.st_mtime_ns)
            if path.is_file() and seen.get(path) != mark:
                s3.upload_file(str(path), bucket, prefix + path.relative_to(folder).as_posix())
                seen[path] = mark
        except FileNotFoundError:  # a container renames and removes while we look
            continue


def split(uri: str) -> tuple[str, str]:
    """Return the bucket and the key of an s3:// URL."""
    parts = urlsplit(uri)
    return parts.netloc, parts.path.removeprefix("/")


def _below(key: str, prefix: str) -> str:
    """Return a key's path when the prefix ends without a slash: of an object itself, its name."""
    return key[len(prefix) :].removeprefix("/") or PurePosixPath(key).name
