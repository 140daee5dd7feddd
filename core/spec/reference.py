"""docs/spec.md, made from the models: `python -m llmcloud.core.spec.reference > docs/spec.md`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from pydantic_core import PydanticUndefined

from llmcloud.core.spec import units
from llmcloud.core.spec.explain import models_by_path
from llmcloud.core.spec.models import JobSpec
from llmcloud.core.spec.schema import json_schema

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from llmcloud.core.spec.tree import Json

_INTRODUCTION = """\
# The job file

<!-- Made by `python -m llmcloud.core.spec.reference > docs/spec.md`; change the models instead. -->

YAML in UTF-8, one document, at most 1 MB. `llmcloud validate FILE` checks it and names every
problem with its line and column; `llmcloud schema` prints its JSON Schema for editors.

```yaml
name: gpt2-finetune
provider: local
resources: {nodes: 2}
code: .
run: python train.py {hyperparameters}
launcher: torchrun
hyperparameters: {learning_rate: 3.0e-4, batch_size: 32}
outputs: [results/]
limits: {max_duration: 4h, retries: 3}
```

## How it is read

- Scalars follow YAML 1.2: `NO`, `on` and `1:30` are text, `1e-4` and `3.0e-4` are numbers, `true`
  and `false` are booleans. Nothing else is converted: `"2"` is no number, and a number where text
  belongs needs quotes.
- Unknown keys, keys that are there twice, empty values, tags (`!!python/…`), merge keys (`<<`),
  infinity and NaN are errors. Anchors and aliases work, within 20,000 values and 40 levels.
- `${env:NAME}` in a value is replaced from the environment, and it is an error if that has no
  NAME. The result is never more than one value: in quotes it is text; without, it is read as if it
  had been written there, so `nodes: ${env:NODES}` may be a number (on a line of its own: between
  braces YAML wants quotes around it). `$${env:NAME}` stays `${env:NAME}`. Nothing else is
  replaced: `${VAR}` and `$VAR` reach the shell as they are.
- `--set a.b.c=value` changes a value before anything is checked. The value is YAML
  (`--set 'region=[us-east-1, us-west-2]'`); `null`, or nothing, removes the key; numbers index
  lists, one past the end appends (`--set data.0.mode=mount`).
- Durations are whole numbers with units: `90s`, `30m`, `4h`, `1h30m`, `2d`. Sizes too: `500MB` and
  `32GB` count in powers of 1000, `32GiB` in powers of 1024. A number without a unit is an error.
- `provider`, `region` and `store`, if left out, come from the user's config file (`config.yaml` in
  LLMCLOUD_HOME, or in the platform's folder for such files), which has the same three keys;
  LLMCLOUD_PROVIDER goes before its `provider`. Its `region` and `store` fill in only jobs of its
  `provider`, if it names one.

"Honoured by" says which providers act on a key. One that can't refuses it by name; no key is
ignored.
"""


def reference() -> str:
    """Return the page."""
    parts = [_INTRODUCTION]
    parts += [_section(path, model) for path, model in models_by_path(JobSpec)]
    return "\n".join(parts)


def _section(path: tuple[str | int, ...], model: type[BaseModel]) -> str:
    title = f"`{'.'.join(map(str, path))}`" if path else "Top level"
    lines = [
        f"## {title}",
        "",
        model.__doc__ or "",
        "",
        "| Key | Type | Default | Honoured by | Example |",
        "|---|---|---|---|---|",
    ]
    schema = _schema_of(model)
    notes = []
    for name, info in model.model_fields.items():
        lines.append(_row(name, info, schema[name]))
        notes.append(f"- **{name}**: {info.description}")
    return "\n".join([*lines, "", *notes, ""])


def _row(name: str, info: FieldInfo, schema: Json) -> str:
    extra = info.json_schema_extra
    honoured = extra["honoured"] if isinstance(extra, dict) else ""
    example = f"`{_written(info.examples[0])}`" if info.examples else ""
    cells = [f"`{name}`", _type(schema), _default(info), str(honoured), example]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _schema_of(model: type[BaseModel]) -> dict[str, Json]:
    schema = json_schema()
    definitions = schema["$defs"]
    if model is not JobSpec and isinstance(definitions, dict):
        found = definitions[model.__name__]
        schema = found if isinstance(found, dict) else {}
    properties = schema["properties"]
    return properties if isinstance(properties, dict) else {}


def _type(schema: Json) -> str:
    if not isinstance(schema, dict):
        return ""
    if isinstance(choices := schema.get("anyOf"), list):
        return " or ".join(dict.fromkeys(_type(each) for each in choices))
    if isinstance(values := schema.get("enum"), list):
        return " · ".join(f"`{_written(each)}`" for each in values)
    if "$ref" in schema:
        return "mapping"
    match schema.get("type"):
        case "string":
            return "text"
        case "array":
            return f"list of {_type(schema['items'])}"
        case "integer":
            return "whole number"
        case "object":
            patterns = schema.get("patternProperties")
            values = [*patterns.values()] if isinstance(patterns, dict) else []
            return f"mapping of {_type(values[0])}" if values else "mapping"
        case list():
            return "text, number or boolean"
        case other:
            return str(other)


def _default(info: FieldInfo) -> str:
    if info.default is PydanticUndefined:
        return "required"
    match info.default:
        case None | () | "":
            return ""
        case tuple() as several:
            return f"`{_written(several[0])}`"
        case bool() | int() | str() | units.Duration() | units.Size():
            return f"`{_written(info.default)}`"
        case _:
            return ""


def _written(value: object) -> str:
    """Return a value as one would write it in the file."""
    if isinstance(value, str | units.Duration | units.Size):
        return str(value)
    return json.dumps(value)


if __name__ == "__main__":
    sys.stdout.write(reference())
