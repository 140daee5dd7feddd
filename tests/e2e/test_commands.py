"""The commands around a job: templates, plans, data, checkpoints, outputs, doctor."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.e2e.conftest import LLMCLOUD
from tests.rig.waits import eventually

if TYPE_CHECKING:
    from typing import Any

    from tests.e2e.conftest import Bench, Done

GOLDEN = Path(__file__).parent / "golden"
TRAIN = """
    import json, os, pathlib
    saved = pathlib.Path(os.environ["LLMCLOUD_CHECKPOINT_DIR"])
    fresh = saved / "writing.tmp"
    fresh.write_text(json.dumps({"step": 7, "weights": [1.5] * 1000}))
    fresh.rename(saved / "step-7.json")
    out = pathlib.Path(os.environ["LLMCLOUD_OUTPUT_DIR"])
    (out / "deep").mkdir()
    (out / "deep" / "sample.txt").write_text("once upon a time")
    print("step=7 loss=0.5", flush=True)
"""


@pytest.fixture
def trained(bench: Bench) -> str:
    """A job that has ended, with a checkpoint and an output."""
    path = bench.job("trained", "python3 train.py", train__py=TRAIN)
    done = bench.cli("submit", path)
    assert done.code == 0, done.err
    return str(bench.cli("status", "trained", "--json").document["job"])


def test_init_lists_the_templates(bench: Bench) -> None:
    listed = {each["name"]: each["summary"] for each in bench.cli("init", "--json").document}
    assert set(listed) == {"tiny-gpt", "gpt2", "ddp"}
    assert all(listed.values())


def test_init_writes_a_template_that_is_valid(bench: Bench) -> None:
    assert bench.cli("init", "tiny-gpt", "mine").code == 0
    assert bench.cli("validate", "mine/job.yaml").code == 0


def test_init_does_not_write_over_what_is_there(bench: Bench) -> None:
    (bench.root / "mine").mkdir()
    (bench.root / "mine" / "train.py").write_text("precious")
    done = bench.cli("init", "tiny-gpt", "mine")
    assert (done.code, (bench.root / "mine" / "train.py").read_text()) == (2, "precious")


def test_init_of_an_unknown_template_names_the_nearest(bench: Bench) -> None:
    done = bench.cli("init", "tinygpt")
    assert done.code == 9
    assert "tiny-gpt" in done.err


def test_a_plan_holds_the_offer_the_price_and_the_exact_requests(bench: Bench) -> None:
    path = bench.job("planned", "true", "limits: {max_duration: 2h}\n")
    plan = bench.cli("plan", path, "--requests", "--json").document
    assert {"offer", "price_usd_per_hour", "max_cost_usd", "alternatives", "requests"} <= set(plan)
    assert plan["offer"]["provider"] == "local"
    assert [set(each) for each in plan["requests"]] == [{"api", "operation", "params", "body"}]


def test_a_plan_makes_nothing(bench: Bench) -> None:
    bench.cli("plan", bench.job("planned", "true"))
    bench.cli("submit", bench.job("planned", "true"), "--dry-run")
    assert not bench.home.exists()


def test_the_schema_is_json_that_knows_every_key(bench: Bench) -> None:
    keys = json.loads(bench.cli("schema").out)["properties"]
    assert {"name", "run", "resources", "roles", "checkpoints", "limits", "secrets"} <= set(keys)


def test_a_checkpoint_is_listed_and_pulled_as_the_node_wrote_it(bench: Bench, trained: str) -> None:
    (listed,) = bench.cli("checkpoints", "list", trained, "--json").document
    assert (listed["step"], listed["files"], listed["valid"]) == (7, 1, True)
    pulled = bench.cli("checkpoints", "pull", trained, "--to", "here", "--json").document
    assert pulled["step"] == 7
    manifest = json.loads(bench.store.get(f"jobs/{trained}/checkpoints/0000000007/COMPLETE").data)
    data = (bench.root / "here" / "step-7.json").read_bytes()
    assert hashlib.sha256(data).hexdigest() == manifest["files"][0]["sha256"]
    assert json.loads(data)["step"] == 7


@pytest.mark.parametrize("command", [("checkpoints", "pull"), ("pull",)])
def test_nothing_is_pulled_into_a_file(
    bench: Bench, trained: str, command: tuple[str, ...]
) -> None:
    (bench.root / "file").write_text("mine")
    done = bench.cli(*command, trained, "--to", "file")
    assert done.code == 2
    assert "is no folder" in done.err


def test_a_step_that_is_not_there_is_told_with_those_that_are(bench: Bench, trained: str) -> None:
    done = bench.cli("checkpoints", "pull", trained, "--step", "8")
    assert done.code == 9
    assert "7" in done.err


def test_pull_watch_brings_each_new_checkpoint_until_the_job_ends(bench: Bench) -> None:
    go = bench.root / "go"
    path = bench.job(
        "saving",
        f"""
        cd "$LLMCLOUD_CHECKPOINT_DIR"
        echo one > saving.tmp && mv saving.tmp step-1.bin
        until [ -e '{go}' ]; do sleep 0.1; done
        echo two > saving.tmp && mv saving.tmp step-2.bin
        """,
        "checkpoints: {interval: 1s}\n",
    )
    bench.submit(path)
    watching = bench.start("checkpoints", "pull", "saving", "--watch", "--to", "here", "--json")
    first, second = bench.root / "here" / "step-1.bin", bench.root / "here" / "step-2.bin"
    eventually(first.exists, "the first checkpoint is here")
    go.touch()
    done = bench.end(watching)
    assert [each["step"] for each in done.objects] == [1, 2]
    assert (done.code, second.read_text()) == (0, "two\n")


def test_pull_brings_the_outputs(bench: Bench, trained: str) -> None:
    assert bench.cli("pull", trained, "--to", "out").code == 0
    found = bench.root / "out" / "outputs" / "deep" / "sample.txt"
    assert found.read_text() == "once upon a time"


def test_a_job_without_outputs_says_how_to_have_some(bench: Bench) -> None:
    bench.cli("submit", bench.job("bare", "true"))
    done = bench.cli("pull", "bare")
    assert done.code == 9
    assert "outputs" in done.err


def summary(done: Done) -> Any:
    """Return the last object that a transfer prints."""
    assert done.code == 0, done.err
    return done.objects[-1]


def test_data_goes_to_the_store_and_comes_back_the_same(bench: Bench) -> None:
    source = bench.root / "corpus"
    (source / "sub").mkdir(parents=True)
    (source / "a.txt").write_text("a")
    (source / "sub" / "b.bin").write_bytes(bytes(range(256)))
    first, again = (bench.cli("data", "push", "corpus", "corpus", "--json") for _ in range(2))
    moved = [each for each in first.objects if each["event"] == "pushed"]
    assert sorted(each["name"] for each in moved) == ["a.txt", "sub/b.bin"]
    assert summary(first) == {
        "event": "summary",
        "pushed": 2,
        "size": 257,
        "unchanged": 0,
        "removed": [],
        "left_out": {},
        "url": f"file://{bench.home}/store/data/corpus",
        "dry_run": False,
    }
    assert (summary(again)["pushed"], summary(again)["unchanged"]) == (0, 2)
    names = [each["name"] for each in bench.cli("data", "list", "corpus", "--json").objects]
    assert names == ["a.txt", "sub/b.bin"]
    assert bench.cli("data", "pull", "corpus", "back").code == 0
    assert (bench.root / "back" / "sub" / "b.bin").read_bytes() == bytes(range(256))


def test_the_places_that_have_names_are_listed_and_what_submits_brought_is_not(
    bench: Bench,
) -> None:
    assert bench.cli("data", "list", "--json").document == []
    (bench.root / "corpus").mkdir()
    (bench.root / "corpus" / "a.txt").write_text("once")
    (bench.root / "corpus" / "b.txt").write_text("upon a time")
    bench.cli("submit", bench.job("reader", "true", "data: [{source: corpus, target: data}]\n"))
    pushed = summary(bench.cli("data", "push", "corpus", "my corpus", "--json"))
    listed = bench.cli("data", "list", "--json").document
    assert listed == [{"name": "my corpus", "objects": 2, "size": 15, "url": pushed["url"]}]
    assert pushed["url"] in bench.cli("data", "list").out


def test_a_pattern_that_the_shell_has_filled_in_is_to_be_quoted(bench: Bench) -> None:
    for name in ("a.bin", "b.bin", "c.bin"):
        (bench.root / name).write_text("x")
    done = bench.cli("data", "push", "a.bin", "b.bin", "c.bin", "s3://bucket/x", "--json")
    assert done.code == done.document["error"]["exit_code"] == 2
    assert "Quote a pattern" in done.err


def test_data_is_removed_only_when_that_is_confirmed(bench: Bench) -> None:
    (bench.root / "corpus").mkdir()
    (bench.root / "corpus" / "a").write_text("a")
    bench.cli("data", "push", "corpus", "corpus")
    assert bench.cli("data", "remove", "corpus").code == 2
    done = bench.cli("data", "remove", "corpus", "--dry-run")
    assert (done.code, done.err.splitlines()[0]) == (0, "  a")
    assert "1 object, 1 B" in bench.cli("data", "list", "corpus").err
    assert len(bench.cli("data", "list", "corpus", "--json").objects) == 1
    assert bench.cli("data", "remove", "corpus", "--yes").code == 0
    assert bench.cli("data", "list", "corpus").code == 9


def test_a_file_url_names_the_very_folder_that_the_data_lies_in(bench: Bench) -> None:
    (bench.root / "a.txt").write_text("a")
    url = f"file://{bench.root}/elsewhere/corpus"
    assert summary(bench.cli("data", "push", "a.txt", url, "--json"))["url"] == url
    assert (bench.root / "elsewhere" / "corpus" / "a.txt").read_text() == "a"


def test_data_that_is_removed_is_what_was_named(bench: Bench) -> None:
    (bench.root / "corpus").mkdir()
    for name in ("a.txt", "b.txt", "c.bin"):
        (bench.root / "corpus" / name).write_text("x")
    bench.cli("data", "push", "corpus", "corpus")
    done = bench.cli("data", "remove", "corpus/*.txt", "--yes", "--json")
    assert summary(done)["removed"] == ["a.txt", "b.txt"]
    (left,) = bench.cli("data", "list", "corpus", "--json").objects
    assert left["name"] == "c.bin"


def test_data_that_the_source_lacks_is_removed_only_when_that_is_confirmed(bench: Bench) -> None:
    (bench.root / "corpus").mkdir()
    for name in ("a", "b"):
        (bench.root / "corpus" / name).write_text("x")
    bench.cli("data", "push", "corpus", "corpus")
    (bench.root / "corpus" / "a").unlink()
    asked = bench.cli("data", "push", "corpus", "corpus", "--delete")
    assert asked.code == 2
    assert "a" in asked.err
    done = bench.cli("data", "push", "corpus", "corpus", "--delete", "--yes", "--json")
    assert summary(done)["removed"] == ["a"]


def test_each_file_that_failed_is_named_and_the_exit_code_is_6(bench: Bench) -> None:
    (bench.root / "corpus").mkdir()
    for name in ("a", "b"):
        (bench.root / "corpus" / name).write_text("x")
    bench.cli("data", "push", "corpus", "corpus")
    (bench.root / "back" / "a").mkdir(parents=True)
    done = bench.cli("data", "pull", "corpus", "back", "--json")
    assert done.code == 6
    assert "a: " in done.err
    told = {each["event"]: each["name"] for each in done.objects if "event" in each}
    assert told == {"failed": "a", "pulled": "b"}
    assert done.objects[-1]["error"]["exit_code"] == 6


def test_a_rate_that_is_none_is_a_mistake_of_the_call(bench: Bench) -> None:
    (bench.root / "a").write_text("x")
    done = bench.cli("data", "push", "a", "corpus", "--limit-rate", "fast")
    assert done.code == 2
    assert "--limit-rate" in done.err


def test_pushed_data_is_read_by_a_job_through_its_url(bench: Bench) -> None:
    (bench.root / "corpus").mkdir()
    (bench.root / "corpus" / "a.txt").write_text("pushed before")
    url = summary(bench.cli("data", "push", "corpus", "corpus", "--json"))["url"]
    path = bench.job("reader", "cat data/a.txt", f"data: [{{source: '{url}', target: data}}]\n")
    assert "pushed before" in bench.cli("submit", path).out


def test_doctor_finds_a_healthy_machine(bench: Bench) -> None:
    done = bench.cli("doctor", "--json")
    assert done.code == 0
    assert {each["subject"] for each in done.document} >= {"python", "venv", "store", "disk"}


def test_doctor_of_a_provider_that_is_not_there_says_so(bench: Bench) -> None:
    done = bench.cli("doctor", "gcp")
    assert done.code == 2
    assert "not in this version" in done.err


def test_a_job_in_a_store_of_its_own_is_found_by_every_command(bench: Bench) -> None:
    path = bench.job("apart", "echo apart", f"store: file://{bench.root}/other\n")
    assert bench.cli("submit", path).code == 0
    assert bench.cli("status", "apart", "--json").document["state"] == "succeeded"
    assert [each["name"] for each in bench.cli("list", "--json").document] == ["apart"]
    assert "apart" in bench.cli("logs", "apart").out


def test_an_error_says_what_where_and_how_to_fix_it(bench: Bench) -> None:
    """The panel that people read, letter by letter."""
    bench.cli("submit", bench.job("real", "true"))
    done = bench.cli("status", "rael")
    shown = done.err.replace(str(bench.root), "ROOT")
    shown = shown.replace(bench.cli("list", "--json").document[0]["job"], "real-ID")
    assert shown == (GOLDEN / "no-such-job.txt").read_text()


def test_an_error_is_a_document_when_json_was_asked_for(bench: Bench) -> None:
    done = bench.cli("status", "nobody", "--json")
    error = done.document["error"]
    assert done.code == error["exit_code"] == 9
    assert set(error) >= {"what", "where", "fix"}


@pytest.mark.parametrize("option", ["--spelling", "--json=x"])
def test_a_wrong_option_is_wrong_usage(bench: Bench, option: str) -> None:
    assert bench.cli("list", option).code == 2


def test_a_wrong_option_is_a_document_too(bench: Bench) -> None:
    done = bench.cli("logs", "--json")
    assert (done.code, done.document["error"]["exit_code"]) == (2, 2)
    assert "JOB" in done.document["error"]["what"]
    assert "JOB" in done.err


def test_a_wait_for_a_job_that_fails_prints_one_document(bench: Bench) -> None:
    job = bench.submit(bench.job("failing", "exit 3"))
    done = bench.cli("wait", job, "--json")
    assert (done.code, done.document["state"], done.document["exit_code"]) == (7, "failed", 3)
    assert "failed" in done.err


def test_times_of_data_are_rfc_3339(bench: Bench) -> None:
    (bench.root / "corpus.txt").write_text("once")
    bench.cli("data", "push", "corpus.txt", "corpus")
    (listed,) = bench.cli("data", "list", "corpus", "--json").objects
    assert listed["modified_at"].endswith("Z")


def test_streams_that_are_closed_are_no_bug(bench: Bench) -> None:
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *LLMCLOUD, "init"]
    assert subprocess.run(command, env=bench.environ, check=False).returncode == 0


def test_doctor_fix_makes_the_home_and_its_store(bench: Bench) -> None:
    assert not bench.home.exists()
    assert bench.cli("doctor", "--fix").code == 0
    assert bench.store.is_there()
    assert bench.home.stat().st_mode & 0o077 == 0


def test_a_dry_run_says_what_would_fail(bench: Bench) -> None:
    folder = bench.root / "corpus"
    folder.mkdir()
    (folder / "fine").touch()
    (folder / "a\nline break").touch()
    done = bench.cli("data", "push", "corpus", "corpus", "--dry-run")
    assert done.code == 6
    assert "  fine\n" in done.err
    assert "1 file would fail, 1 would be transferred." in done.err
    assert "a\\nline break: " in done.err
    done = bench.cli("data", "push", "corpus", "corpus", "--dry-run", "--json")
    assert [each.get("event") for each in done.objects] == ["failed", "pushed", None]
    assert (done.code, done.objects[-1]["error"]["exit_code"]) == (6, 6)
