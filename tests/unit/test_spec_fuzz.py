"""Whatever a job file holds, `load` returns a spec or says what is wrong and where."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis.strategies as st
import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from llmcloud.core.errors import SpecError, UsageError, format_problem
from llmcloud.core.spec.load import load
from llmcloud.core.spec.models import JobSpec

if TYPE_CHECKING:
    from collections.abc import Callable

FULL = (Path(__file__).parent / "golden/spec/full.yaml").read_text()
INDICATORS = "<< &a *a !!str !x | > - ? : , { } [ ] # % @ ` ' \" \\ --- ... %YAML"
VALUES_OF_NOTE = "NO 1e-4 1e999 .nan 1:30 0x1F 99999999999999999999 ../x trainingInput roles ps"
WORDS = sorted(
    {
        *re.findall(r"[\w:+/.-]+", FULL),
        *INDICATORS.split(),
        *VALUES_OF_NOTE.split(),
        *["${env:X}", "$${env:X}", "${env:}", "${env:ABSENT}", '"\\0"', '"\\ud800"'],
        *["\n", "\n  ", "\n    ", "\n- ", "\t", ": ", "\0", "\x01", "\ufeff", "\u2028", "é"],
    }
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(WORDS)
)
LEAVES = SCALARS | st.lists(SCALARS, max_size=2)
VALUES = LEAVES | st.dictionaries(st.sampled_from(WORDS), LEAVES, max_size=3)
DOCUMENTS = st.builds(
    lambda fixed, drawn: fixed | drawn,
    st.sampled_from([{"name": "a", "run": "x"}, {"name": "a"}, {}]),
    st.dictionaries(st.sampled_from(sorted(JobSpec.model_fields)), VALUES, max_size=4),
)
OVERRIDES = st.lists(
    st.builds("".join, st.lists(st.sampled_from([*WORDS, ".", "=", "0", "1"]), max_size=7)),
    max_size=3,
)


def cases(number: int) -> Callable[..., object]:
    return settings(
        max_examples=number,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@pytest.fixture
def check(tmp_path: Path) -> Callable[..., None]:
    path = tmp_path / "job.yaml"
    environ = {"LLMCLOUD_HOME": str(tmp_path / "home"), "X": "7"}

    def run(data: bytes, overrides: list[str] | None = None) -> None:
        path.write_bytes(data)
        try:
            loaded = load(str(path), overrides=overrides or [], environ=environ)
        except UsageError:
            assert overrides
        except SpecError as error:
            assert_plausible(error, data)
        else:
            again = JobSpec.model_validate(json.loads(json.dumps(loaded.document)))
            assert again == loaded.spec

    return run


def assert_plausible(error: SpecError, data: bytes) -> None:
    assert error.problems
    text = data.decode("utf-8", errors="replace")
    lines = re.split("\r\n?|[\n\x85\u2028\u2029]", text)  # the line breaks of YAML
    lines.append("")  # the parser ends each text with a line of its own
    for problem in error.problems:
        assert problem.message
        assert "\n" not in format_problem(error.path, problem).strip()
        if problem.source:
            assert problem.source.startswith("--set ")
        elif problem.line:
            assert 1 <= problem.line <= len(lines)
            assert 1 <= problem.column <= len(lines[problem.line - 1]) + 2
        else:
            assert problem.column == 0


@cases(4000)
@given(words=st.lists(st.sampled_from(WORDS), max_size=40))
def test_words_of_yaml_in_any_order_are_read_or_explained(check, words):
    check(" ".join(words).encode("utf-8", errors="surrogatepass"))


@cases(2000)
@given(data=st.binary(max_size=200))
def test_bytes_are_read_or_explained(check, data):
    check(data)


@cases(2000)
@given(document=DOCUMENTS, as_json=st.booleans())
def test_values_of_any_shape_under_the_known_keys_are_read_or_explained(check, document, as_json):
    text = json.dumps(document)
    if not as_json:
        text = yaml.dump(document, Dumper=yaml.CSafeDumper, allow_unicode=True)
    check(text.encode("utf-8", errors="surrogatepass"))


@cases(1500)
@given(edits=st.data())
def test_a_full_file_with_some_of_it_changed_is_read_or_explained(check, edits):
    text = FULL
    for _ in range(edits.draw(st.integers(1, 4))):
        start = edits.draw(st.integers(0, len(text)))
        end = min(len(text), start + edits.draw(st.sampled_from([0, 0, 1, 2, 5, 30])))
        text = text[:start] + edits.draw(st.sampled_from(["", *WORDS])) + text[end:]
    check(text.encode("utf-8", errors="surrogatepass"))


@cases(1000)
@given(overrides=OVERRIDES)
def test_overrides_of_any_kind_are_applied_or_explained(check, overrides):
    check(FULL.encode(), overrides)
