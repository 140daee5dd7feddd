"""A job that goes well, from the command to its exit code."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING

from tests.e2e.conftest import contains

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Bench

STATUS_KEYS = (
    *("job", "name", "provider", "service", "region", "state", "attempt", "nodes", "created_at"),
    *("started_at", "ended_at", "exit_code", "metrics", "cost_estimate_usd", "error"),
)


def test_a_job_that_succeeds_exits_0_and_says_so_everywhere(bench: Bench) -> None:
    path = bench.job("good", "echo hello\necho world >&2\necho loss=1.5 step=3")
    done = bench.cli("submit", path)
    assert done.code == 0, done.err
    assert sorted(done.out.splitlines()) == ["hello", "loss=1.5 step=3", "world"]
    (listed,) = bench.cli("list", "--json").document
    job = listed["job"]
    assert (listed["name"], listed["state"]) == ("good", "succeeded")
    found = bench.status("good")
    assert tuple(found) == STATUS_KEYS
    assert (found["job"], found["state"], found["exit_code"]) == (job, "succeeded", 0)
    assert (found["provider"], found["service"], found["attempt"]) == ("local", "vm", 1)
    assert found["nodes"] == [{"rank": 0, "role": "worker", "state": "ended", "id": None}]
    assert found["error"] is None
    assert found["metrics"]["loss"] == 1.5
    for key in ("created_at", "started_at", "ended_at"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found[key])
    assert bench.cli("wait", job).code == 0
    assert "hello" in bench.cli("logs", job).out
    assert job in bench.cli("list").out


def test_a_job_that_has_ended_leaves_nothing_for_gc(bench: Bench) -> None:
    assert bench.cli("submit", bench.job("tidy", "echo hello")).code == 0
    bench.await_nothing_running()
    assert bench.cli("gc", "--dry-run", "--json").document == []


def test_a_detached_submit_prints_one_document(bench: Bench) -> None:
    path = bench.job("away", "echo hello")
    done = bench.cli("submit", path, "--detach", "--json")
    assert done.code == 0, done.err
    assert tuple(done.document) == ("job", "name", "provider", "service", "state", "store")
    assert done.document["store"] == bench.store.url
    assert bench.cli("wait", "away", "--json").document["state"] == "succeeded"


def test_a_wait_says_each_state_that_the_job_comes_to(bench: Bench) -> None:
    go = bench.root / "go"
    job = bench.submit(bench.job("slow", f"until [ -e {go} ]; do sleep 0.05; done"))
    waiting = bench.start("wait", job)
    said = []
    for line in waiting.stderr:
        said.append(line.decode().strip())
        if said[-1] == f"{job}: running":
            go.touch()
    assert bench.end(waiting).code == 0
    assert said[-2:] == [f"{job}: running", f"{job} succeeded."]
    assert len(said) == len(set(said))
    quiet = bench.cli("wait", job, "--json")
    assert (quiet.code, quiet.document["state"]) == (0, "succeeded")


def test_a_followed_submit_prints_one_object_a_line_with_json(bench: Bench) -> None:
    done = bench.cli("submit", bench.job("json", "echo hello"), "--json")
    assert done.code == 0, done.err
    first, *lines, last = done.objects
    assert first["name"] == "json"
    assert [line["line"] for line in lines] == ["hello"]
    assert set(lines[0]) >= {"ts", "node", "stream", "line", "cursor"}
    assert tuple(last) == STATUS_KEYS


def test_a_script_sees_its_job(bench: Bench) -> None:
    show = """
        import json, os
        print(json.dumps({k: v for k, v in os.environ.items()}))
        print(open(os.environ["LLMCLOUD_HYPERPARAMETERS"]).read())
    """
    more = """
        hyperparameters: {learning_rate: 3.0e-4, batch_size: 32, warm: true, note: "a b"}
        env: {TOKENIZERS_PARALLELISM: "false"}
        checkpoints: {path: saved}
        outputs: [results/]
    """
    path = bench.job("sees", "python show.py\necho {hyperparameters}", more, show__py=show)
    done = bench.cli("submit", path, env={"PRIVATE_TO_ME": "1"})
    assert done.code == 0, done.err
    environ, parameters, flags = done.out.splitlines()
    seen = json.loads(environ)
    code = bench.work(seen["LLMCLOUD_JOB"]) / "code"
    wanted = {
        "LLMCLOUD_ATTEMPT": "1",
        "LLMCLOUD_NODE_RANK": "0",
        "LLMCLOUD_NODES": "1",
        "LLMCLOUD_NODE_IPS": "127.0.0.1",
        "LLMCLOUD_CHECKPOINT_DIR": str(code / "saved"),
        "LLMCLOUD_OUTPUT_DIR": str(code / "results"),
        "LLMCLOUD_DATA_DIR": str(code / "data"),
        "LLMCLOUD_HP_LEARNING_RATE": "0.0003",
        "LLMCLOUD_HP_BATCH_SIZE": "32",
        "LLMCLOUD_HP_WARM": "true",
        "LLMCLOUD_HP_NOTE": "a b",
        "MASTER_ADDR": "127.0.0.1",
        "WORLD_SIZE": "1",
        "RANK": "0",
        "LOCAL_RANK": "0",
        "NODE_RANK": "0",
        "TOKENIZERS_PARALLELISM": "false",
        "PWD": str(code),
    }
    assert {name: seen.get(name) for name in wanted} == wanted
    assert seen["MASTER_PORT"].isdigit()
    assert "TF_CONFIG" not in seen
    assert "PRIVATE_TO_ME" not in seen
    assert json.loads(parameters) == {
        "learning_rate": 3.0e-4, "batch_size": 32, "warm": True, "note": "a b",
    }  # fmt: skip
    assert flags == "--learning_rate=0.0003 --batch_size=32 --warm=true --note=a b"


def test_data_of_every_local_kind_is_there(bench: Bench) -> None:
    corpus = bench.root / "data" / "corpus"
    corpus.mkdir(parents=True)
    (corpus / "a.txt").write_text("from a folder")
    (bench.root / "data" / "one.txt").write_text("a file")
    elsewhere = bench.root / "else where"
    elsewhere.mkdir()
    (elsewhere / "u.txt").write_text("by URL")
    more = f"""
        data:
          - {{source: ./corpus, target: inputs/corpus}}
          - {{source: ./one.txt, target: inputs/one.txt}}
          - {{source: "file://{str(elsewhere).replace(" ", "%20")}", target: by-url}}
          - {{source: ./corpus, target: mounted, mode: mount}}
        code: {{exclude: ["*"]}}
    """
    run = """
        cat inputs/corpus/a.txt; echo
        cat inputs/one.txt; echo
        cat by-url/u.txt; echo
        cat mounted/a.txt; echo
        readlink mounted
        echo $LLMCLOUD_DATA_DIR
    """
    done = bench.cli("submit", bench.job("data", run, more))
    assert done.code == 0, done.err
    *contents, link, first = done.out.splitlines()
    assert contents == ["from a folder", "a file", "by URL", "from a folder"]
    assert link == str(corpus)
    assert first.endswith("/inputs/corpus")


def test_data_is_laid_over_a_folder_that_the_code_has(bench: Bench) -> None:
    """Neither hides the other, and a second attempt finds both again."""
    folder = bench.root / "over"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "README").write_text("from the code")
    (folder / "corpus").mkdir()
    (folder / "corpus" / "text").write_text("from the data")
    more = "data: [{source: ./corpus, target: data}]\nlimits: {retries: 1}\n"
    run = "cat data/README data/text; test $LLMCLOUD_ATTEMPT = 2"
    done = bench.cli("submit", bench.job("over", run, more))
    assert done.code == 0, done.err
    assert done.out.count("from the codefrom the data") == 2


def test_outputs_are_kept_and_pulled(bench: Bench) -> None:
    run = "mkdir -p results/sub; echo 7 > results/sub/score; echo 8 > $LLMCLOUD_OUTPUT_DIR/x"
    assert bench.cli("submit", bench.job("outs", run, "outputs: [results/]\n")).code == 0
    done = bench.cli("pull", "outs", "--to", str(bench.root / "pulled"))
    assert done.code == 0, done.err
    pulled = {
        path.name: path.read_text() for path in (bench.root / "pulled").rglob("*") if path.is_file()
    }
    assert pulled == {"score": "7\n", "x": "8\n"}


def test_secrets_reach_the_script_and_nothing_else(bench: Bench) -> None:
    secret = "s3cr3t-value-0123456789"
    run = """
        python digest.py
        echo the token is $HF_TOKEN.
        printf "it has ${HF_TOKEN:0:12}"; sleep 1; echo "${HF_TOKEN:12} in two parts"
        sleep 1
    """
    digest = """
        import hashlib, os
        print(hashlib.sha256(os.environ["HF_TOKEN"].encode()).hexdigest())
    """
    path = bench.job("secret", run, "secrets: [HF_TOKEN]\n", digest__py=digest)
    child = bench.start("submit", path, "--json", env={"HF_TOKEN": secret})
    folders = [bench.home / "store", bench.home / "nodes"]
    seen: set[Path] = set()
    while child.poll() is None:  # also while it runs, in what is removed afterwards
        seen.update(contains(folders, secret))
    done = bench.end(child)
    assert done.code == 0, done.err
    assert hashlib.sha256(secret.encode()).hexdigest() in done.out
    assert "the token is ***." in done.out
    assert "it has *** in two parts" in bench.cli("logs", "secret").out
    assert secret not in done.out + done.err
    seen.update(contains(folders, secret))
    assert not seen
