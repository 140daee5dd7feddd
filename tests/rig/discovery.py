"""Google's discovery documents as a judge of what a fake is asked and what it answers.

The documents are those that google-api-python-client ships, so they are the vendor's own words.
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
import re
from dataclasses import dataclass
from datetime import date, datetime
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Schema = dict[str, Any]

INTEGERS = {
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint64": (0, 2**64 - 1),
}
DURATION = re.compile(r"-?\d+(\.\d{1,9})?s")
VARIABLE = re.compile(r"\{(\+?)(\w+)\}")


@dataclass(frozen=True)
class Call:
    """A method of the API, and what the path of a request to it says."""

    id: str
    path: dict[str, str]
    method: Schema


class Discovery:
    """One API, such as `storage.v1`: finds the method of a request, and judges both ways."""

    def __init__(self, api: str) -> None:
        folder = files("googleapiclient") / "discovery_cache" / "documents"
        document = json.loads((folder / f"{api}.json").read_text())
        self._schemas: dict[str, Schema] = document["schemas"]
        self._everywhere: dict[str, Schema] = document["parameters"]
        self._routes: dict[str, list[tuple[re.Pattern[str], Schema]]] = {}
        for method in _methods(document):
            routes = self._routes.setdefault(method["httpMethod"], [])
            routes.extend((_pattern(path), method) for path in _paths(document, method))

    def find(self, verb: str, path: str) -> Call | None:
        """Return the method that a request is for; `path` is as it was sent, still quoted."""
        for pattern, method in self._routes.get(verb, ()):
            match = pattern.fullmatch(path)
            if match and _has_form(method, match.groupdict()):
                found = {name: unquote(value) for name, value in match.groupdict().items()}
                return Call(method["id"], found, method)
        return None

    def request_problems(
        self, call: Call, query: Iterable[tuple[str, str]], body: object
    ) -> list[str]:
        """Return what the document does not allow in a request; `body` is None if there is none."""
        problems = list(self._parameter_problems(call, list(query)))
        request = call.method.get("request")
        if body is not None and request is None:
            problems.append("the method takes no body")
        elif request is not None and body is not None:
            problems += _Judge(self._schemas, call.id).judge(request, body, "body")
        return problems

    def response_problems(self, call: Call, body: object) -> list[str]:
        """Return what the document does not allow in an answer; `body` is None if it is empty."""
        response = call.method.get("response")
        if response is None or body is None:
            return [] if response is body else [f"the body should be {response}, not {body!r}"]
        return list(_Judge(self._schemas, None).judge(response, body, "body"))

    def _parameter_problems(self, call: Call, query: list[tuple[str, str]]) -> Iterator[str]:
        known = {**self._everywhere, **call.method.get("parameters", {})}
        given = [*query, *call.path.items()]
        for name, value in given:
            if name not in known:
                yield f"unknown parameter {name!r}"
            else:
                yield from _text_problems(known[name], value, f"parameter {name}")
        names = [name for name, _ in given]
        for name, schema in known.items():
            if schema.get("required") and name not in names:
                yield f"parameter {name} is missing"
            if names.count(name) > 1 and not schema.get("repeated"):
                yield f"parameter {name} is given twice"


@functools.cache
def discovery(api: str) -> Discovery:
    """Return the judge for an API; reading a document takes a while, so each is read once."""
    return Discovery(api)


def _methods(resource: Schema) -> Iterator[Schema]:
    yield from resource.get("methods", {}).values()
    for below in resource.get("resources", {}).values():
        yield from _methods(below)


def _paths(document: Schema, method: Schema) -> Iterator[str]:
    service = "/" + document["servicePath"]
    yield service + method["path"]
    if method.get("supportsMediaUpload"):
        yield from (each["path"] for each in method["mediaUpload"]["protocols"].values())
    if method.get("useMediaDownloadService"):
        yield "/download" + service + method["path"]


def _pattern(path: str) -> re.Pattern[str]:
    pattern, end = "", 0
    for variable in VARIABLE.finditer(path):
        pattern += re.escape(path[end : variable.start()])
        pattern += f"(?P<{variable[2]}>{'.+' if variable[1] else '[^/]+'})"
        end = variable.end()
    return re.compile(pattern + re.escape(path[end:]))


def _has_form(method: Schema, found: dict[str, str]) -> bool:
    """Tell apart methods whose paths differ only in what a variable may be."""
    parameters = method["parameters"]
    return all(re.search(parameters[each].get("pattern", ""), found[each]) for each in found)


class _Judge:
    """Judges a document's values; knows the method when a request, whose required keys it names."""

    def __init__(self, schemas: dict[str, Schema], method: str | None) -> None:
        self._schemas = schemas
        self._method = method

    def judge(self, schema: Schema, value: object, where: str) -> Iterator[str]:
        if "$ref" in schema:
            schema = self._schemas[schema["$ref"]]
        if value is None and self._method:
            return  # a patch removes a key so
        match schema.get("type", "any"), value:
            case "any", _:
                pass
            case "object", dict():
                yield from self._judge_object(schema, value, where)
            case "array", list():
                for number, item in enumerate(value):
                    yield from self.judge(schema["items"], item, f"{where}[{number}]")
            case "string", str():
                yield from _text_problems(schema, value, where)
            case ("string", int()) if self._method and schema.get("format") in INTEGERS:
                # Google reads both, and google-cloud-storage sends a number when it composes
                yield from _text_problems(schema, str(value), where)
            case ("integer", int()) if not isinstance(value, bool):
                yield from _text_problems(schema, str(value), where)
            case ("number", int() | float()) if not isinstance(value, bool):
                pass
            case "boolean", bool():
                pass
            case wanted, _:
                yield f"{where}: {value!r} is no {wanted}"

    def _judge_object(self, schema: Schema, value: Schema, where: str) -> Iterator[str]:
        known: dict[str, Schema] = schema.get("properties", {})
        others = schema.get("additionalProperties")
        for name, item in value.items():
            if name in known:
                yield from self.judge(known[name], item, f"{where}.{name}")
                kind = known[name].get("default")
                if name == "kind" and kind and item != kind:
                    yield f"{where}.kind: {item!r} should be {kind!r}"
            elif others is not None:
                yield from self.judge(others, item, f"{where}.{name}")
            elif known:
                yield f"{where}: unknown key {name!r}"
        for name, property_ in known.items():
            required = property_.get("annotations", {}).get("required", ())
            if self._method in required and name not in value:
                yield f"{where}: {name} is missing"


def _text_problems(schema: Schema, value: str, where: str) -> Iterator[str]:
    """Judge what is text on the wire: a JSON string, a parameter, or a number's digits."""
    form = schema.get("format", schema.get("type"))
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where}: {value!r} is none of {schema['enum']}"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{where}: {value!r} does not match {schema['pattern']}"
    if form in INTEGERS or form == "integer":
        yield from _integer_problems(schema, value, where)
    elif form == "boolean" and value.lower() not in {"true", "false"}:  # the SDK says `True`
        yield f"{where}: {value!r} is no boolean"
    elif form in FORMS and not FORMS[str(form)](value):
        yield f"{where}: {value!r} is no {form}"


def _integer_problems(schema: Schema, value: str, where: str) -> Iterator[str]:
    low, high = INTEGERS.get(schema.get("format", ""), INTEGERS["int64"])
    low = max(low, int(schema.get("minimum", low)))
    high = min(high, int(schema.get("maximum", high)))
    if not re.fullmatch(r"-?\d+", value) or not low <= int(value) <= high:
        yield f"{where}: {value!r} is no integer from {low} to {high}"


def _is_time(value: str) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None and "T" in value
    except ValueError:
        return False


def _is_date(value: str) -> bool:
    try:
        return bool(date.fromisoformat(value))
    except ValueError:
        return False


def _is_base64(value: str) -> bool:
    try:
        return base64.b64decode(value.translate({45: "+", 95: "/"}), validate=True) is not None
    except binascii.Error:
        return False


FORMS: dict[str, Callable[[str], bool]] = {
    "date-time": _is_time,
    "google-datetime": _is_time,
    "date": _is_date,
    "byte": _is_base64,
    "google-duration": lambda value: DURATION.fullmatch(value) is not None,
}
