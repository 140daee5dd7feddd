"""`llmcloud validate` and `llmcloud schema`."""

from __future__ import annotations

import json
import os

from llmcloud.cli import output
from llmcloud.cli.arguments import FileArgument
from llmcloud.cli.session import JsonOption, SetOption


def validate(file: FileArgument, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """Check a job file: every problem with its line, or what the file means."""
    output.json_mode(as_json)
    from llmcloud.core.spec.load import load

    loaded = load(file, overrides=overrides or [], environ=os.environ)
    if as_json:
        output.emit({"valid": True, "digest": loaded.digest, "spec": loaded.document})
    else:
        output.say(f"{file} is valid.")


def schema(as_json: JsonOption = False) -> None:
    """Print the JSON Schema of a job file, for editors to check and complete it."""
    output.json_mode(as_json)  # it is JSON anyway
    from llmcloud.core.spec.schema import json_schema

    print(json.dumps(json_schema(), indent=2))  # noqa: T201
