"""What a job file means once it is read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jsonschema
import pytest

from llmcloud.core.config import Config
from llmcloud.core.errors import SpecError
from llmcloud.core.home import Home
from llmcloud.core.spec.load import load
from llmcloud.core.spec.models import JobSpec
from llmcloud.core.spec.reference import reference
from llmcloud.core.spec.schema import json_schema
from llmcloud.core.spec.task import task_of
from llmcloud.runtime.store import FileStore
from llmcloud.runtime.task import Task

ROOT = Path(__file__).parents[2]
FULL = Path(__file__).parent / "golden/spec/full.yaml"
MINIMAL = "name: a\nrun: x\n"


@pytest.fixture
def read(tmp_path):
    def read(text: str, *overrides: str, **environ: str):
        path = tmp_path / "job.yaml"
        path.write_text(text)
        environ.setdefault("LLMCLOUD_HOME", str(tmp_path))
        return load(str(path), overrides=overrides, environ=environ)

    return read


def test_the_full_example_is_read_whole(read):
    """The example of the design, but for instance_type, which excludes accelerator."""
    spec = read(FULL.read_text()).spec
    assert spec.provider == ("aws",)
    assert spec.resources.accelerators == 8
    assert spec.resources.cpus.or_more
    assert spec.limits.max_duration.seconds == 86_400
    assert spec.outputs == ("results",)
    assert spec.role_list() == ("worker", "worker")
    assert spec.processes_per_node() == 8


def test_scalars_follow_yaml_1_2(read):
    text = MINIMAL + "hyperparameters: {a: 3.0e-4, b: 1e-4, c: NO, d: 1:30, e: on, f: true, g: 010}"
    assert read(text).spec.hyperparameters == {
        "a": 3e-4, "b": 1e-4, "c": "NO", "d": "1:30", "e": "on", "f": True, "g": 10,
    }  # fmt: skip


def test_the_environment_expands_and_nothing_else_does(read):
    text = (
        MINIMAL
        + "env: {A: '${env:N}', B: '$${env:N}', C: '${N} $N'}\nresources:\n  nodes: ${env:N}"
    )
    spec = read(text, N="3").spec
    assert spec.env == {"A": "3", "B": "${env:N}", "C": "${N} $N"}
    assert spec.resources.nodes == 3


def test_an_expanded_value_never_becomes_structure(read):
    assert read(MINIMAL + "env: {A: '${env:E}'}", E="x, B: y").spec.env == {"A": "x, B: y"}


def test_overrides_replace_append_create_and_remove(read):
    overrides = [
        "resources.nodes=3",
        "data.0.mode=mount",
        "data.2={source: x, target: y}",
        "launcher={name: torchrun, processes: 2}",
        "labels=null",
        "hyperparameters.batch_size=",
        "outputs.1=more/",
    ]
    spec = read(FULL.read_text(), *overrides).spec
    assert spec.resources.nodes == 3
    assert [each.mode for each in spec.data] == ["mount", "mount", "copy"]
    assert spec.processes_per_node() == 2
    assert spec.labels == {}
    assert spec.hyperparameters == {"learning_rate": 3e-4}
    assert spec.outputs == ("results", "more")


def test_an_override_of_one_alias_leaves_the_others(read):
    text = MINIMAL + "metrics: [&m {name: a, regex: (x)}, *m]"
    names = [each.name for each in read(text, "metrics.1.name=b").spec.metrics]
    assert names == ["a", "b"]


def test_the_digest_is_of_the_meaning(read):
    one = read(MINIMAL + "limits: {max_duration: 4h}\ncode: src")
    same = read("run: x\nname: a\ncode: {path: src}\nlimits: {max_duration: 240m, retries: 0}")
    other = read(MINIMAL + "limits: {max_duration: 5h}\ncode: src")
    assert one.digest == same.digest != other.digest


def test_the_document_can_be_read_again(read):
    loaded = read(FULL.read_text(), "resources.nodes=4")
    assert JobSpec.model_validate(json.loads(json.dumps(loaded.document))) == loaded.spec


def test_a_problem_found_later_is_located(read):
    from llmcloud.core.errors import Problem

    refused = read(FULL.read_text()).refused(Problem("data.1.mode", "no", hint="h"))
    (found,) = refused.problems
    assert (found.line, found.key, found.hint) == (16, "data.1.mode", "h")


@pytest.mark.parametrize(
    ("text", "roles"),
    [
        ("", ("worker",)),
        ("roles: {worker: {count: 2}, chief: {}}", ("chief", "worker", "worker")),
        (
            "roles: {evaluator: {}, ps: {}, worker: {}, chief: {}}",
            ("chief", "worker", "ps", "evaluator"),
        ),
    ],
)
def test_ranks_go_by_role(read, text, roles):
    assert read(MINIMAL + text).spec.role_list() == roles


@pytest.mark.parametrize(
    ("text", "processes"),
    [
        ("launcher: torchrun", 1),
        ("launcher: torchrun\nresources: {accelerator: L4:4}", 4),
        ("launcher: torchrun\nresources: {accelerator: tpu-v5e:16}", 1),
        ("resources: {accelerator: L4:4}", 1),
    ],
)
def test_processes_go_by_launcher_and_accelerators(read, text, processes):
    assert read(MINIMAL + text).spec.processes_per_node() == processes


def test_a_task_says_what_the_spec_says_and_survives_json(read):
    task = task_of(read(FULL.read_text()).spec, job="j1", code="code/x", data=())
    assert Task.from_json(task.to_json()) == task
    assert (task.job, task.run, task.launcher) == ("j1", "python train.py", "torchrun")
    assert (task.checkpoints.interval_s, task.max_duration_s, task.retries) == (60, 86_400, 3)
    assert task.metrics[0].regex == "loss=([0-9.]+)"


def test_the_users_config_fills_what_the_file_leaves_out(read, tmp_path):
    (tmp_path / "config.yaml").write_text("provider: aws\nregion: eu-west-1\nstore: s3://jobs\n")
    spec = read(MINIMAL).spec
    assert (spec.provider, spec.region, spec.store) == (("aws",), ("eu-west-1",), "s3://jobs")
    assert read(MINIMAL + "region: us-east-1").spec.region == ("us-east-1",)
    other = read(MINIMAL + "provider: gcp").spec
    assert (other.provider, other.region, other.store) == (("gcp",), None, None)


def test_the_environments_provider_goes_before_the_config(read, tmp_path):
    (tmp_path / "config.yaml").write_text("provider: aws\nregion: eu-west-1\n")
    spec = read(MINIMAL, LLMCLOUD_PROVIDER="gcp").spec
    assert (spec.provider, spec.region) == (("gcp",), None)


def test_without_any_default_a_job_is_local(read):
    assert read(MINIMAL).spec.provider == ("local",)


def test_a_wrong_config_is_explained_like_a_job_file(tmp_path):
    (tmp_path / "config.yaml").write_text("provider: asw\nregin: x\n")
    environ = {"LLMCLOUD_HOME": str(tmp_path)}
    with pytest.raises(SpecError) as caught:
        Config.load(Home.from_env(environ), environ)
    assert [each.hint for each in caught.value.problems] == [
        "Did you mean aws?",
        "Did you mean region?",
    ]


@pytest.mark.parametrize("store", ["s3://bucket/prefix", "az://account", "jobs", "file://host/x"])
def test_a_config_whose_store_can_be_none_is_explained_at_its_line(tmp_path, store):
    (tmp_path / "config.yaml").write_text(f"provider: aws\nstore: {store}\n")
    environ = {"LLMCLOUD_HOME": str(tmp_path)}
    with pytest.raises(SpecError) as caught:
        Config.load(Home.from_env(environ), environ)
    assert [(each.key, each.line) for each in caught.value.problems] == [("store", 2)]


def test_a_home_that_no_folder_can_be_is_explained():
    environ = {"LLMCLOUD_HOME": "/" + "x" * 300}
    with pytest.raises(SpecError):
        Config.load(Home.from_env(environ), environ)


def test_a_home_has_the_url_that_its_store_has(tmp_path):
    home = Home.from_env({"LLMCLOUD_HOME": str(tmp_path / "a b%c")})
    assert home.store_url == FileStore(home.root / "store").url


def test_the_schema_takes_what_the_loader_takes(read):
    validator = jsonschema.Draft202012Validator(json_schema())
    jsonschema.Draft202012Validator.check_schema(json_schema())
    files = [FULL, *ROOT.glob("templates/*/*.yaml")]
    assert len(files) > 1
    for file in files:
        assert not list(validator.iter_errors(read(file.read_text()).document)), file


@pytest.mark.parametrize(
    "text",
    [
        "code: src\nlauncher: mpirun\nregion: [a, b]\nprovider: [aws, gcp]",
        "resources: {cpus: 8, memory: 1.5TB+, spot: fallback, accelerator: none}",
        "roles: {worker: {cpus: 4+}}\nhyperparameters: {a: 1, b: x, c: true, d: 0.5}",
        "checkpoints: {path: ./a/b/, interval: 1h30m}\nstore: file:///x",
    ],
)
def test_the_schema_takes_every_form(read, text):
    document = read(MINIMAL + text).document
    assert not list(jsonschema.Draft202012Validator(json_schema()).iter_errors(document))


@pytest.mark.parametrize(
    "more",
    [
        {"nodes": 2},
        {"resources": {"gpus": 2}},
        {"resources": {}, "roles": {"worker": {}}},
        {"resources": {"accelerator": "L4:1", "instance_type": "x"}},
        {"limits": {"max_duration": 60}},
        {"checkpoints": {"path": "../x"}},
        {"env": {"A": 1}},
        {"env": {"a b": "x"}},
        {"code": None},
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(read, more):
    document = {"name": "a", "run": "x", **more}
    assert not jsonschema.Draft202012Validator(json_schema()).is_valid(document)
    with pytest.raises(SpecError):
        read(json.dumps(document))


def test_the_reference_is_up_to_date():
    """`python -m llmcloud.core.spec.reference > docs/spec.md` brings it up to date."""
    assert (ROOT / "docs/spec.md").read_text() == reference()


def test_a_metric_pattern_that_could_run_away_is_refused(read):
    """Nothing can stop Python's engine once it has begun; the nodes would refuse it too late."""
    with pytest.raises(SpecError) as raised:
        read(MINIMAL + "metrics: [{name: loss, regex: '(a+)+$'}]")
    assert "exponential" in raised.value.problems[0].message


def test_an_optional_part_with_a_repeat_is_no_pattern_that_could_run_away(read):
    regex = r"loss=([0-9]+(?:\.[0-9]+)?)"
    assert (
        read(MINIMAL + f"metrics: [{{name: loss, regex: '{regex}'}}]").spec.metrics[0].regex
        == regex
    )


def test_a_path_begins_at_the_file_or_with_a_tilde_at_a_home(read, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/me")
    loaded = read(MINIMAL)
    assert loaded.beside("data") == tmp_path / "data"
    assert loaded.beside("~/data") == Path("/home/me/data")
    assert loaded.beside("/data") == Path("/data")
    assert loaded.beside("~nobody-of-this-name/x") == tmp_path / "~nobody-of-this-name/x"


def test_a_config_that_is_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "config.yaml")
    environ = {"LLMCLOUD_HOME": str(tmp_path)}
    with pytest.raises(SpecError):
        Config.load(Home.from_env(environ), environ)


@pytest.mark.parametrize("key", ["run", "setup", "env.A"])
def test_a_text_that_no_program_can_be_started_with_is_refused(read, key):
    assert read(MINIMAL, f"{key}={'x' * 119_000}")
    with pytest.raises(SpecError):
        read(MINIMAL, f"{key}={'x' * 131_072}")
