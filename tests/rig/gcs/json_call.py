"""One request to the JSON interface, as its handlers see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tests.rig.gcs import errors
from tests.rig.gcs.versions import Conditions, Resource, Version, time_text

if TYPE_CHECKING:
    from tests.rig.discovery import Call
    from tests.rig.gcs.fake import GcsFake
    from tests.rig.gcs.server import Request
    from tests.rig.gcs.storage import Bucket, Storage

SETTABLE = {
    "cacheControl",
    "contentDisposition",
    "contentEncoding",
    "contentLanguage",
    "contentType",
    "customTime",
    "metadata",
    "storageClass",
}
UNHEARD = {"acl", "contexts", "eventBasedHold", "kmsKeyName", "retention", "temporaryHold"}
STORAGE_CLASSES = {"STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE", "REGIONAL", "MULTI_REGIONAL"}


@dataclass(frozen=True)
class JsonCall:
    """A request that the schema allows; `body` is None where there is none."""

    fake: GcsFake
    request: Request
    call: Call
    body: Any

    @property
    def storage(self) -> Storage:
        return self.fake.storage

    @property
    def query(self) -> dict[str, str]:
        return dict(self.request.query)

    @property
    def path(self) -> dict[str, str]:
        return self.call.path

    def bucket(self, permission: str, name: str = "bucket") -> Bucket:
        """Return the bucket that the path names, to a caller who has the permission."""
        self.fake.allow(permission, self.path[name])
        return self.storage.bucket(self.path[name])

    def integer(self, name: str) -> int | None:
        value = self.query.get(name)
        return None if value is None else int(value)

    def flag(self, name: str) -> bool:
        return self.query.get(name, "").lower() == "true"

    def conditions(self, prefix: str = "if") -> Conditions:
        return Conditions(
            self.integer(f"{prefix}GenerationMatch"),
            self.integer(f"{prefix}GenerationNotMatch"),
            self.integer(f"{prefix}MetagenerationMatch"),
            self.integer(f"{prefix}MetagenerationNotMatch"),
        )


def settable_fields(body: Resource | None) -> Resource:
    """Return what of an object a writer may set; what the service says itself is passed over."""
    given = {name: value for name, value in (body or {}).items() if value is not None}
    if UNHEARD & given.keys():
        raise errors.Unserved(f"objects with {sorted(UNHEARD & given.keys())}")
    check_storage_class(given.get("storageClass"))
    return {name: value for name, value in given.items() if name in SETTABLE}


def check_storage_class(name: str | None) -> None:
    if name is not None and name not in STORAGE_CLASSES:
        raise errors.invalid(f"Invalid argument: storage class {name}.", code="InvalidStorageClass")


def check_acl(call: JsonCall, bucket: Resource, name: str) -> None:
    """Raise for an access list where there can be none, or where it would be ignored."""
    if name in call.query:
        if bucket["iamConfiguration"]["uniformBucketLevelAccess"]["enabled"]:
            raise errors.invalid(
                "Cannot insert legacy ACL for an object when uniform bucket-level access is"
                " enabled. Read more at https://cloud.google.com/storage/docs/uniform-bucket-level-access"
            )
        raise errors.Unserved(f"{name}={call.query[name]}")


def object_resource(version: Version, host: str) -> Resource:
    """Return what the JSON interface says of a generation."""
    path = f"storage/v1/b/{version.bucket}/o/{quote(version.name, safe='')}"
    content, created = version.content, time_text(version.created)
    resource = {
        "kind": "storage#object",
        "id": f"{version.bucket}/{version.name}/{version.generation}",
        "selfLink": f"{host}/{path}",
        "mediaLink": f"{host}/download/{path}?generation={version.generation}&alt=media",
        "name": version.name,
        "bucket": version.bucket,
        "generation": str(version.generation),
        "metageneration": str(version.metageneration),
        **version.fields,
        "size": str(content.size),
        "crc32c": content.crc32c,
        "etag": version.etag,
        "timeCreated": created,
        "updated": time_text(version.updated),
        "timeStorageClassUpdated": created,
        "timeFinalized": created,
    }
    if content.md5:
        resource["md5Hash"] = content.md5
    if content.components:
        resource["componentCount"] = content.components
    if version.deleted:
        resource["timeDeleted"] = time_text(version.deleted)
    return resource
