"""What `llmcloud doctor` prints of what a provider found, and how it exits."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from llmcloud.cli import app, output
from llmcloud.core import registry
from llmcloud.core.launch import nowhere
from llmcloud.core.provider import Finding
from llmcloud.runtime.errors import CredentialsError, Failure, NoCapacity, QuotaExceeded

if TYPE_CHECKING:
    from pathlib import Path

WELL = Finding("store", True, "a bucket that lies in one of the regions where there are machines")
UNKNOWN = Finding("permits", None, "not looked at: this may not be asked")
NO_QUOTA = Finding("quota", False, "0 of 8 vCPUs", "Ask for more.", 5)
DENIED = Finding("identity", False, "no credentials", "aws configure", CredentialsError.exit_code)


@pytest.fixture
def doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    monkeypatch.setenv("LLMCLOUD_HOME", str(tmp_path))
    return Doctor(monkeypatch)


class Doctor:
    """The command, for a provider that finds what it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def __call__(self, *findings: Finding, options: tuple[str, ...] = ()) -> int:
        """Run it and return its exit code."""

        class Compute:
            def check(self, _spec: object, *, mend: bool) -> list[Finding]:
                assert not mend
                return list(findings)

        self._monkeypatch.setattr(registry, "compute", lambda _name, _home: Compute())
        self._monkeypatch.setattr("sys.argv", ["llmcloud", "doctor", *options])
        with pytest.raises(SystemExit) as ended:
            app.main()
        assert isinstance(ended.value.code, int)
        return ended.value.code


@pytest.mark.parametrize(
    ("findings", "code"),
    [
        ([WELL], 0),
        ([WELL, UNKNOWN], 0),
        ([WELL, NO_QUOTA, DENIED], 5),
        ([DENIED, NO_QUOTA], 4),
        ([Finding("disk", False, "full", "Make room.")], 6),
    ],
)
def test_it_exits_as_what_is_missing_first_would_end_a_submit(
    findings: list[Finding], code: int, doctor: Doctor
) -> None:
    assert doctor(*findings) == code


def test_what_could_not_be_looked_at_is_not_called_well(
    doctor: Doctor, capsys: pytest.CaptureFixture[str]
) -> None:
    doctor(WELL, UNKNOWN, DENIED)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[:3]] == [
        ["ok", "store"],
        ["?", "permits"],
        ["FAIL", "identity"],
    ]
    doctor(WELL, UNKNOWN, DENIED, options=("--json",))
    document = json.loads(capsys.readouterr().out)
    assert [(each["ok"], each["exit_code"]) for each in document] == [
        (True, 0),
        (None, 0),
        (False, 4),
    ]


def test_a_file_in_the_place_of_the_provider_is_told_where_it_belongs(
    doctor: Doctor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "job.yaml"
    path.touch()
    assert doctor(WELL, options=(str(path),)) == 2
    assert "llmcloud doctor PROVIDER FILE" in capsys.readouterr().err
    assert doctor(WELL, options=("gopher",)) == 2
    assert "FILE" not in capsys.readouterr().err


def test_what_was_found_is_folded_between_words(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "columns", lambda: 50)
    doctor(WELL)
    assert capsys.readouterr().out.splitlines() == [
        "ok    store    a bucket that lies in one of the",
        "               regions where there are machines",
    ]


def test_who_gets_no_machines_is_sent_to_the_doctor_of_that_cloud() -> None:
    """Without a name it looks at this machine."""
    refusals: list[Failure] = [QuotaExceeded("No.", where="here"), NoCapacity("None.")]
    assert "llmcloud doctor aws FILE" in nowhere("aws", refusals).fix
