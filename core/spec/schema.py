"""The JSON Schema of a job file, for editors that complete and check it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic.json_schema import GenerateJsonSchema

from llmcloud.core.spec.models import JobSpec
from llmcloud.core.spec.units import Duration, Size

if TYPE_CHECKING:
    from llmcloud.core.spec.tree import Json

_ONE_CHOICE = {
    "JobSpec": ["resources", "roles"],
    "Resources": ["accelerator", "instance_type"],
    "Role": ["accelerator", "instance_type"],
}


def json_schema() -> dict[str, Json]:
    """Return it in the draft 2020-12: what the loader takes, but for what a schema can't say."""
    schema = JobSpec.model_json_schema(schema_generator=_Generator)
    models = {"JobSpec": schema, **schema["$defs"]}
    for name, keys in _ONE_CHOICE.items():
        models[name]["not"] = {"required": keys}
    cleaned = _cleaned(schema)
    assert isinstance(cleaned, dict)  # noqa: S101 - a mapping stays one
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **cleaned,
        "title": "llmcloud job file",
    }


class _Generator(GenerateJsonSchema):
    def encode_default(self, dft: object) -> object:
        return str(dft) if isinstance(dft, Duration | Size) else super().encode_default(dft)


def _cleaned(part: Json) -> Json:
    """Return a part without what is of no use in a file: nulls, titles, our own notes."""
    if isinstance(part, list):
        return [_cleaned(each) for each in part]
    if not isinstance(part, dict):
        return part
    choices = part.get("anyOf")
    if isinstance(choices, list):
        kept = [each for each in choices if each != {"type": "null"}]
        rest = {key: value for key, value in part.items() if key != "anyOf"}
        alone = kept[0] if len(kept) == 1 else {"anyOf": kept}
        part = {**alone, **rest} if isinstance(alone, dict) else rest
    if "patternProperties" in part:
        part = {**part, "additionalProperties": False}
    if part.get("default") is None or isinstance(part["default"], dict):
        part = {key: value for key, value in part.items() if key != "default"}
    return {
        key: _named(value) if key in {"properties", "$defs"} else _cleaned(value)
        for key, value in part.items()
        if key not in {"title", "honoured"}
    }


def _named(parts: Json) -> Json:
    """Clean what stands under names of the file's own, which may be called anything."""
    return {k: _cleaned(v) for k, v in parts.items()} if isinstance(parts, dict) else parts
