"""What a person reads after a mistake in a job file."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmcloud.core.errors import Problem, SpecError, UsageError, format_problem
from llmcloud.core.spec.load import load

GOLDEN = Path(__file__).parent / "golden/spec"
ENVIRON = {"LLMCLOUD_HOME": "/nonexistent"}


@pytest.mark.parametrize("text", sorted(GOLDEN.glob("*.txt")), ids=lambda path: path.stem)
def test_a_typical_mistake_is_explained_at_its_place(text):
    """The golden text holds each problem as file:line:column: key: message. hint."""
    file = text.with_suffix(".yaml")
    with pytest.raises(SpecError) as caught:
        load(str(file), environ=ENVIRON)
    said = "".join(format_problem(file.name, each) + "\n" for each in caught.value.problems)
    assert said == text.read_text()
    assert caught.value.exit_code == 3


def problem_of(path: object, **options: object) -> Problem:
    with pytest.raises(SpecError) as caught:
        load(str(path), environ=ENVIRON, **options)
    return caught.value.problems[0]


def test_a_file_that_is_not_there_is_a_problem_with_a_fix(tmp_path):
    problem = problem_of(tmp_path / "absent.yaml")
    assert problem.message == "There is no such file"
    assert "llmcloud init" in problem.hint


def test_a_folder_leads_to_the_job_file_in_it(tmp_path):
    (tmp_path / "job.yaml").write_text("name: a")
    assert problem_of(tmp_path).hint == f"Did you mean {tmp_path / 'job.yaml'}?"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "The file is empty"),
        (b"# only a comment\n", "The file is empty"),
        (b"\x7fELF\0\0\0", "The file is binary, not text"),
        ("name: a".encode("utf-16"), "The file is UTF-16"),
        (b"name: caf\xe9\n", "The byte 0xE9 is not UTF-8"),
        (b"name: a\nrun: \x1b[2J\n", "The character U+001B can't be in a file of text"),
        (b"x" * 1_000_001, "The file is bigger than 1,000,000 bytes"),
        (b"[" * 100_000, "The nesting is deeper than 40 levels"),
        (b"a: " + b"- " * 100_000, "This is no YAML: block sequence entries are not allowed"),
        (b'name: a\nrun: "\\0"\n', "The character U+0000 can't be in a value"),
        (b"name: a\nrun: x\nhyperparameters: {n: " + b"9" * 5000 + b"}", "The number 9999"),
    ],
)
def test_junk_is_refused_in_words(tmp_path, data, message):
    path = tmp_path / "job.yaml"
    path.write_bytes(data)
    assert problem_of(path).message.startswith(message)


def test_a_byte_that_is_not_utf8_is_pointed_at(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_bytes(b"name: a\nrun: caf\xe9\n")
    problem = problem_of(path)
    assert (problem.line, problem.column) == (2, 9)


def test_a_path_that_no_file_can_have_is_a_problem():
    assert problem_of("a\0b").message == "No file can have this name"


def test_a_text_of_the_file_can_not_move_the_cursor():
    shown = format_problem("job.yaml", Problem("a\x1b[2J", "odd\nthing", 1, 2))
    assert shown == "job.yaml:1:2: a\\x1b[2J: odd\\nthing"


@pytest.mark.parametrize("text", ["nodes", "=2", "a..b=1", "run=[", "run='x"])
def test_a_malformed_override_is_a_usage_error(text):
    with pytest.raises(UsageError) as caught:
        load(str(GOLDEN / "full.yaml"), overrides=[text], environ=ENVIRON)
    assert caught.value.where == f"--set {text}"
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("resources.nodes=0", "resources.nodes: The least is 1, found 0"),
        ("resources.nods=2", "resources.nods: There is no such key. Did you mean nodes?"),
        ("data.9.mode=copy", "data: The list has no 9. It holds 2"),
        ("name.x=1", "name: There is a plain value here, so there is no x in it."),
    ],
)
def test_an_override_with_a_wrong_value_is_named_as_the_place(text, said):
    problem = problem_of(GOLDEN / "full.yaml", overrides=[text])
    assert format_problem("job.yaml", problem).startswith(f"--set {text}: {said}")
