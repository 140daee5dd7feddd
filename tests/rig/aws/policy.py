"""IAM's policies, evaluated: actions, resources and conditions, an explicit deny first.

After docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

VARIABLE = re.compile(r"\$\{([^}]+)\}")


@dataclass(frozen=True)
class Asked:
    """An action on a resource, and what is known of the request: condition keys in lower case."""

    action: str
    resource: str
    context: Mapping[str, Sequence[str]] = field(default_factory=dict)


def decide(documents: Iterable[Mapping[str, Any]], asked: Asked) -> str:
    """Return `allowed`, `explicitDeny` or `implicitDeny`, in IAM's own words."""
    effects = {
        statement["Effect"]
        for document in documents
        for statement in _listed(document["Statement"])
        if _meets(statement, asked)
    }
    if "Deny" in effects:
        return "explicitDeny"
    return "allowed" if "Allow" in effects else "implicitDeny"


def _meets(statement: Mapping[str, Any], asked: Asked) -> bool:
    if "NotAction" in statement:
        is_action = not _any_like(statement["NotAction"], asked.action.lower(), lower=True)
    else:
        is_action = _any_like(statement["Action"], asked.action.lower(), lower=True)
    if not is_action:
        return False
    if "NotResource" in statement:
        is_resource = not _any_like(_filled(statement["NotResource"], asked), asked.resource)
    else:
        is_resource = _any_like(_filled(statement.get("Resource", "*"), asked), asked.resource)
    return is_resource and all(
        _holds(operator, key, _filled(values, asked), asked)
        for operator, keys in statement.get("Condition", {}).items()
        for key, values in keys.items()
    )


def _holds(operator: str, key: str, values: list[str], asked: Asked) -> bool:
    """Tell whether one condition holds; a key that is missing fails it, but for negations."""
    quantifier, _, name = operator.rpartition(":")
    name, is_optional = name.removesuffix("IfExists"), name.endswith("IfExists")
    had = asked.context.get(key.lower())
    if name == "Null":
        return (had is None) == (values == ["true"])
    if name not in OPERATORS:
        raise ValueError(f"the rig does not know the condition operator {operator}")
    is_negated = "Not" in name
    if had is None:
        return is_optional or is_negated or quantifier == "ForAllValues"
    test = OPERATORS[name.replace("Not", "", 1)] if is_negated else OPERATORS[name]
    found = [any(test(value, each) for value in values) for each in had]
    if is_negated:
        found = [not each for each in found]
    return all(found) if quantifier == "ForAllValues" or is_negated else any(found)


def _like(pattern: str, value: str) -> bool:
    return re.fullmatch(_compiled(pattern), value) is not None


def _compiled(pattern: str) -> str:
    return "".join({"*": ".*", "?": "."}.get(each, re.escape(each)) for each in pattern)


def _equal(wanted: str, value: str) -> bool:
    return wanted == value


OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": _equal,
    "StringNotEquals": _equal,
    "StringEqualsIgnoreCase": lambda wanted, value: wanted.lower() == value.lower(),
    "StringNotEqualsIgnoreCase": lambda wanted, value: wanted.lower() == value.lower(),
    "StringLike": _like,
    "StringNotLike": _like,
    "ArnLike": _like,
    "ArnNotLike": _like,
    "ArnEquals": _like,
    "ArnNotEquals": _like,
    "Bool": lambda wanted, value: wanted.lower() == value.lower(),
    "NumericEquals": lambda wanted, value: float(value) == float(wanted),
    "NumericLessThan": lambda wanted, value: float(value) < float(wanted),
    "NumericLessThanEquals": lambda wanted, value: float(value) <= float(wanted),
    "NumericGreaterThan": lambda wanted, value: float(value) > float(wanted),
    "NumericGreaterThanEquals": lambda wanted, value: float(value) >= float(wanted),
}


def _any_like(patterns: Any, value: str, *, lower: bool = False) -> bool:
    return any(_like(each.lower() if lower else each, value) for each in _listed(patterns))


def _filled(values: Any, asked: Asked) -> list[str]:
    """Put the request's values in the place of policy variables."""

    def value_of(match: re.Match[str]) -> str:
        known = asked.context.get(match[1].lower())
        return known[0] if known else match[0]

    return [VARIABLE.sub(value_of, _worded(each)) for each in _listed(values)]


def _worded(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
