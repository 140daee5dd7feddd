"""The kinds of value that a job file's fields hold, each with its check and its JSON Schema."""

from __future__ import annotations

import contextlib
import math
import re
import warnings
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Protocol, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, PlainValidator
from pydantic import WithJsonSchema as Schema
from pydantic_core import PydanticCustomError

from llmcloud.core.spec import units
from llmcloud.core.stores import bucket_of
from llmcloud.runtime.errors import InvalidRequest
from llmcloud.runtime.objects import check_prefix
from llmcloud.runtime.store import BUCKETS, split_bucket
from llmcloud.runtime.task import MetricPattern

if TYPE_CHECKING:
    from collections.abc import Iterator

PROBLEM = "llmcloud"  # the type of the pydantic errors that carry our own message and hint
STORE_SCHEMES = ("file", *BUCKETS)

_NAME = "[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?"
_VARIABLE = "[A-Za-z_][A-Za-z0-9_]*"
_PARAMETER = "[A-Za-z_][A-Za-z0-9_.-]*"
_METRIC = "[A-Za-z0-9_./-]{1,100}"
_LABEL = "[a-z][a-z0-9_-]{0,62}"
_LABEL_VALUE = "[a-z0-9_-]{0,63}"
_UPWARDS = re.compile(r"(^|/)\.\.(/|$)")
_MAX_REGEX = 1000
_INT64 = 1 << 63


class Finding(NamedTuple):
    """One thing wrong; `at` is the key below the validated value that is to be pointed at."""

    message: str
    hint: str = ""
    at: str = ""


def invalid(message: str, hint: str = "", at: str = "") -> PydanticCustomError:
    """Return what a validator raises for one finding."""
    return all_invalid([Finding(message, hint, at)])


def all_invalid(findings: list[Finding]) -> PydanticCustomError:
    """Return what a validator raises; pydantic takes one error from each."""
    said = "; ".join(each.message for each in findings)
    return PydanticCustomError(PROBLEM, "{said}", {"said": said, "findings": findings})


def kind_of(value: object) -> str:
    """Name a value's kind in the words of a job file."""
    match value:
        case bool():
            return f"the boolean {str(value).lower()}"
        case int() | float():
            return f"the number {value}"
        case str():
            return "text"
        case list() | tuple():
            return "a list"
        case dict():
            return "a mapping"
        case _:
            return "nothing"


class _Quantity(Protocol):
    @classmethod
    def parse(cls, text: str) -> Self: ...


_Q = TypeVar("_Q", bound=_Quantity)


def _reads(kind: type[_Q], example: str) -> PlainValidator:
    def read(value: object) -> _Q:
        if isinstance(value, kind):
            return value
        if kind is units.Cpus and type(value) is int:
            value = str(value)
        if type(value) in {int, float}:
            raise invalid(f"The number {value} has no unit", f"Write it like {example}")
        if not isinstance(value, str):
            raise invalid(f"Expected {example} or the like, found {kind_of(value)}")
        try:
            return kind.parse(value)
        except units.UnitError as error:
            raise invalid(error.message, error.hint) from error

    return PlainValidator(read)


def _matches(pattern: str, what: str, hint: str) -> AfterValidator:
    compiled = re.compile(pattern)

    def match(text: str) -> str:
        if not compiled.fullmatch(text):
            raise invalid(f"{_short(text)} can't be {what}", hint)
        return text

    return AfterValidator(match)


def _pattern(pattern: str, **more: str) -> Schema:
    return Schema({"type": "string", "pattern": f"^({pattern})$", **more})


def _said(text: str) -> str:
    if not text.strip():
        raise invalid("There is nothing in it", "Leave the key out, or give it a value")
    return text


def _inside(text: str) -> str:
    if text.startswith("/") or _UPWARDS.search(text):
        raise invalid(
            f"{_short(text)} leads out of the work folder", "Use a relative path without .."
        )
    return _below(text)


def _below(text: str) -> str:
    if any(character < " " for character in text):
        raise invalid(f"{_short(text)} holds a control character", "Write the path without it")
    if _UPWARDS.search(text):
        raise invalid(f"{_short(text)} has .. in it", "Write the path without it")
    parts = [part for part in text.split("/") if part not in {"", "."}]
    if not parts:
        raise invalid(f"{_short(text)} names no folder", "Name one, like results/")
    return "/" * text.startswith("/") + "/".join(parts)


def _located(text: str) -> str:
    scheme, found, rest = _said(text).partition("://")
    if found and scheme not in STORE_SCHEMES:
        raise invalid(
            f"Data can't come from {scheme[:20]}://",
            "Use a local path, or a URL with s3://, gs://, az:// or file://",
        )
    if found and scheme in BUCKETS:
        with _refusals():
            _, key = split_bucket(scheme, rest)
            check_prefix(key.rstrip("/"))
    return text


def _store(text: str) -> str:
    try:
        parts = urlsplit(text)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in STORE_SCHEMES or not (parts.netloc or parts.path.startswith("/")):
        raise invalid(
            f"{_short(text)} is no store", "Write a URL like s3://bucket or file:///absolute/path"
        )
    with _refusals():
        bucket_of(text)
    return text


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Raise what the code that will do it refuses as a finding."""
    try:
        yield
    except InvalidRequest as refused:
        raise invalid(refused.what.rstrip("."), refused.fix.rstrip(".")) from refused


def _one_group(text: str) -> str:
    if len(text) > _MAX_REGEX:
        raise invalid(f"The expression is longer than {_MAX_REGEX} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            groups = re.compile(text).groups
    except (re.error, OverflowError, RecursionError) as error:
        raise invalid(f"This is no regular expression: {error}") from error
    if groups != 1:
        raise invalid(
            f"The expression needs exactly one group for the number, it has {groups}",
            "Mark the number, like loss=([0-9.]+); other groups are written (?:…)",
        )
    from llmcloud.runtime.metrics.patterns import compile_pattern

    with _refusals():
        compile_pattern(MetricPattern("", text))  # the nodes refuse what could run away
    return text


def _scalar(value: object) -> str | int | float | bool:
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int) and abs(value) < _INT64:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, int | float):
        raise invalid("The number is out of range", "Quote it if it is meant as text")
    raise invalid(f"Expected text, a number or a boolean, found {kind_of(value)}")


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _several(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise invalid("The list is empty", "Leave the key out, or name one")
    twice = [each for i, each in enumerate(value) if each in value[:i]]
    if twice:
        raise invalid(f"{_short(twice[0])} is in the list twice", "Remove one")
    return value


def _any_alone(value: tuple[str, ...]) -> tuple[str, ...]:
    if "any" in value and len(value) > 1:
        raise invalid("any stands for every provider", "Write any alone, or name the providers")
    return value


def _short(text: str, most: int = 60) -> str:
    return repr(text if len(text) <= most else text[: most - 1] + "…")


def from_text(key: str, accepted: Any) -> BeforeValidator:
    """Accept a text where a mapping belongs, as the value of its `key`."""

    def expand(value: object) -> object:
        return {key: value} if isinstance(value, str) else value

    return BeforeValidator(expand, json_schema_input_type=accepted)


_WRITE = PlainSerializer(str, return_type=str)
_LOOSE = Field(strict=False)  # a tuple may come as a list, nothing else changes
_INSIDE_SCHEMA = _pattern(r"(?!/)(?!(.*/)?\.\.(/|$))([./]*[^./].*|[./]*\.{3,}.*)")

Duration = Annotated[
    units.Duration,
    _reads(units.Duration, "90s, 30m or 4h"),
    _WRITE,
    _pattern("(?=.)([0-9]{1,9}d)?([0-9]{1,9}h)?([0-9]{1,9}m)?([0-9]{1,9}s)?"),
]
Size = Annotated[
    units.Size,
    _reads(units.Size, "500MB or 32GB"),
    _WRITE,
    _pattern(r"[0-9]{1,19}(\.[0-9]{1,6})? ?([KMGTP]i?)?B"),
]
Memory = Annotated[
    units.Memory,
    _reads(units.Memory, "32GB or 32GB+"),
    _WRITE,
    _pattern(r"[0-9]{1,19}(\.[0-9]{1,6})? ?([KMGTP]i?)?B\+?"),
]
Cpus = Annotated[
    units.Cpus,
    _reads(units.Cpus, "8 or 8+"),
    _WRITE,
    Schema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 999_999},
                {"type": "string", "pattern": r"^[1-9][0-9]{0,5}\+?$"},
            ]
        }
    ),
]
Accelerator = Annotated[
    units.Accelerator,
    _reads(units.Accelerator, "A100:8 or none"),
    _WRITE,
    _pattern("none|[A-Za-z][A-Za-z0-9.-]{0,39}:[1-9][0-9]{0,4}"),
]

Text = Annotated[str, AfterValidator(_said), _pattern(r"[\s\S]*\S[\s\S]*")]
Name = Annotated[
    str,
    _matches(
        _NAME,
        "a name",
        "Use up to 40 of a-z, 0-9 and -, with a letter or digit at both ends",
    ),
    _pattern(_NAME),
]


def is_name(text: str) -> bool:
    """Tell whether a job, or a machine by itself, may be called so."""
    return re.fullmatch(_NAME, text) is not None


Variable = Annotated[
    str,
    _matches(_VARIABLE, "an environment variable", "Use letters, digits and _"),
    _pattern(_VARIABLE),
]
Parameter = Annotated[
    str,
    _matches(_PARAMETER, "a hyperparameter's name", "Use letters, digits, _, - and ."),
    _pattern(_PARAMETER),
]
MetricName = Annotated[
    str,
    _matches(_METRIC, "a metric's name", "Use letters, digits, _, -, . and /"),
    _pattern(_METRIC),
]
Label = Annotated[
    str,
    _matches(_LABEL, "a label", "Every cloud accepts a-z, 0-9, _ and -, up to 63, a letter first"),
    _pattern(_LABEL),
]
LabelValue = Annotated[
    str,
    _matches(_LABEL_VALUE, "a label's value", "Every cloud accepts a-z, 0-9, _ and -, up to 63"),
    _pattern(_LABEL_VALUE),
]
Regex = Annotated[str, AfterValidator(_one_group), Schema({"type": "string", "format": "regex"})]
FolderInside = Annotated[str, AfterValidator(_inside), _INSIDE_SCHEMA]
Target = Annotated[
    str, AfterValidator(_below), _pattern(r"(?!(.*/)?\.\.(/|$))([./]*[^./].*|[./]*\.{3,}.*)")
]
DataLocation = Annotated[str, AfterValidator(_located), _pattern(r"[\s\S]*\S[\s\S]*")]
StoreUrl = Annotated[str, AfterValidator(_store), _pattern("(file|s3|gs|az)://.+")]
Scalar = Annotated[
    str | int | float | bool,
    PlainValidator(_scalar),
    Schema({"type": ["string", "number", "boolean"]}),
]
Provider = Literal["local", "aws", "gcp", "azure", "edge", "any"]
Providers = Annotated[
    tuple[Provider, ...],
    _LOOSE,
    AfterValidator(_any_alone),
    AfterValidator(_several),
    BeforeValidator(_listed, json_schema_input_type=Provider | list[Provider]),
]
Regions = Annotated[
    tuple[Text, ...],
    _LOOSE,
    AfterValidator(_several),
    BeforeValidator(_listed, json_schema_input_type=Text | list[Text]),
]
