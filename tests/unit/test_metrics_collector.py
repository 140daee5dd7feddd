"""All sources of metrics as one stream, and what a reader makes of it."""

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcloud.runtime.metrics.collector import STEPS_KEPT, Collector
from llmcloud.runtime.metrics.files import FILES_MAX, Folders
from llmcloud.runtime.metrics.metric import Metric, Reading, canonical
from llmcloud.runtime.metrics.progress import POINTS_MAX, History, Progress
from llmcloud.runtime.status import rfc3339
from llmcloud.runtime.task import MetricPattern

EVENTS = Path(__file__).parent / "golden" / "events" / "tensorboardX.tfevents.0"


def write_state(folder: Path, *entries: dict[str, float]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"max_steps": 100, "log_history": entries})
    (folder / "trainer_state.json").write_text(text)


def add_events(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(EVENTS, folder / "events.out.tfevents.1.host")


class EveryTime(Folders):
    """Looks for new files at each poll."""

    def poll(self) -> Iterator[tuple[int, list[Reading]]]:
        self._next_look = 0.0
        return super().poll()


def collect(folder: Path) -> Collector:
    collector = Collector(clock=lambda: 1000.0)
    collector._folders = EveryTime([folder])
    return collector


def test_a_printed_line_is_a_metric_at_the_next_poll() -> None:
    collector = Collector(clock=lambda: 0.5)
    collector.feed("total steps: 1000")
    collector.feed("iter 10: loss 3.1234, lr 3.0e-04, tok/s 140000")
    (metric,) = collector.poll()
    assert metric == Metric(
        "1970-01-01T00:00:00.500Z", 10, {"loss": 3.1234, "lr": 3e-4, "tok_s": 140000.0}, 1000
    )
    assert collector.poll() == []


def test_lines_of_one_step_are_one_metric() -> None:
    collector = Collector()
    collector.feed("step 250: train loss 2.1000, val loss 2.3000")
    collector.feed("iter 250: loss 2.0, time 5ms, mfu 3%")
    (metric,) = collector.poll()
    assert {"loss", "eval_loss", "train_loss"} < metric.values.keys()


def test_a_line_printed_twice_is_one_metric() -> None:
    """Every rank of a node may print it."""
    collector = Collector()
    collector.feed("step=1 loss=2.0")
    assert len(collector.poll()) == 1
    collector.feed("step=1 loss=2.0")
    assert collector.poll() == []


def test_the_same_step_from_two_sources_comes_once(tmp_path: Path) -> None:
    """Printed numbers have fewer digits; that makes them no different."""
    collector = collect(tmp_path)
    collector.feed("step=10 loss=2.6")
    collector.feed("step=30 loss=1.80")
    assert len(collector.poll()) == 2
    write_state(
        tmp_path / "out" / "checkpoint-30", {"step": 10, "loss": 2.5987}, {"step": 30, "loss": 1.8}
    )
    assert collector.poll() == []


def test_where_sources_disagree_the_trusted_one_corrects(tmp_path: Path) -> None:
    """It is said of the time when the step was first heard of."""
    collector = collect(tmp_path)
    collector.feed("step=10 loss=9.0 lr=0.1")
    collector.poll()
    write_state(tmp_path / "checkpoint-10", {"step": 10, "loss": 5.0})
    assert [(m.ts, m.step, m.values) for m in collector.poll()] == [
        (rfc3339(1000.0), 10, {"loss": 5.0})
    ]
    add_events(tmp_path / "runs" / "a")
    found = {m.step: m.values for m in collector.poll()}
    assert found[10] == {"loss": 2.6, "eval_loss": 3.1}
    collector.feed("step=10 loss=7.0")
    write_state(tmp_path / "checkpoint-20", {"step": 10, "loss": 4.0})
    assert collector.poll() == []


def test_files_that_were_there_before_are_of_another_run(tmp_path: Path) -> None:
    """What they grow by is of this one."""
    add_events(tmp_path)
    (tmp_path / "metrics.csv").write_text("step,loss\n1,2.0\n")
    collector = collect(tmp_path)
    assert collector.poll() == []
    (tmp_path / "metrics.csv").write_text("step,loss\n1,2.0\n2,1.5\n")
    assert [m.step for m in collector.poll()] == [2]


def test_a_resumed_training_repeats_nothing_of_the_history_it_was_given(tmp_path: Path) -> None:
    """Each later checkpoint of HF Trainer holds the steps before the resume as well."""
    before = [{"step": 5, "loss": 3.0}, {"step": 10, "loss": 2.5}]
    write_state(tmp_path / "checkpoint-10", *before)
    collector = collect(tmp_path)
    write_state(tmp_path / "checkpoint-20", *before, {"step": 15, "loss": 2.0})
    assert [(each.step, each.values) for each in collector.poll()] == [(15, {"loss": 2.0})]


def test_a_new_training_beside_another_s_checkpoint_tells_all_of_its_steps(tmp_path: Path) -> None:
    write_state(tmp_path / "base" / "checkpoint-10", {"step": 5, "loss": 3.0})
    collector = collect(tmp_path)
    write_state(tmp_path / "checkpoint-10", {"step": 5, "loss": 2.0})
    assert [(each.step, each.values) for each in collector.poll()] == [(5, {"loss": 2.0})]


def test_files_are_found_in_folders_but_not_in_other_people_s(tmp_path: Path) -> None:
    """Nor behind links, that may lead anywhere."""
    for name in (".git", "venv", "node_modules", "a/b/c/d/e/f/g"):
        collector = collect(tmp_path)
        write_state(tmp_path / name, {"step": 1, "loss": 1.0})
        assert collector.poll() == [], name
    collector = collect(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    write_state(tmp_path / "a" / "b", {"step": 1, "loss": 1.0})
    assert [m.step for m in collector.poll()] == [1]


def test_hundreds_of_checkpoints_do_not_crowd_out_the_event_file(tmp_path: Path) -> None:
    """The newest checkpoint is read, too, and none is read twice."""
    collector = collect(tmp_path)
    add_events(tmp_path / "runs")
    assert len(collector.poll()) == 5
    for step in range(1000, 1000 + FILES_MAX + 50):
        write_state(tmp_path / f"checkpoint-{step}", {"step": step, "loss": 1.0})
    collector.poll()
    write_state(tmp_path / "checkpoint-2000", {"step": 2000, "loss": 1.0})
    assert [m.step for m in collector.poll()] == [2000]
    assert any("tfevents" in path for path in collector._folders._sources)
    assert len(collector._folders._sources) == FILES_MAX


def test_looking_for_files_takes_a_small_part_of_the_time(tmp_path: Path) -> None:
    """A look that took 3 s is not repeated within the next minute."""
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 3.0
        return now

    folders = Folders([tmp_path], clock)
    looked_until = now
    write_state(tmp_path, {"step": 1, "loss": 1.0})
    while not list(folders.poll()):
        pass
    assert now - looked_until >= 57


def test_a_value_without_any_step_is_kept_in_its_order() -> None:
    collector = Collector([MetricPattern("score", "SCORE ([0-9.]+)")])
    collector.feed("SCORE 1")
    collector.feed("SCORE 1")
    assert [(m.step, m.values) for m in collector.poll()] == [(None, {"score": 1.0})] * 2


def test_a_slow_pattern_is_told_of() -> None:
    collector = Collector([MetricPattern("score", "SCORE ([0-9.]+)")])
    assert collector.problems() == []
    collector._stdout.patterns[0].gave_up = True
    assert "score" in collector.problems()[0]


def test_memory_stays_bounded_however_much_is_printed() -> None:
    """Of more steps than are kept, the latest come through."""
    collector = Collector()
    for step in range(STEPS_KEPT + 500):
        collector.feed(f"step={step} loss=1.0")
    found = collector.poll()
    assert len(found) == STEPS_KEPT
    assert found[-1].step == STEPS_KEPT + 499
    assert len(collector._seen) == STEPS_KEPT
    collector.feed(json.dumps({"step": 10**6, "loss": 1} | {f"n{i}": i for i in range(150)}))
    (metric,) = collector.poll()
    assert len(metric.values) == 151


def test_a_value_can_t_pass_for_the_step_or_the_time() -> None:
    collector = Collector()
    collector.feed("step=3 loss=2.0 ts=5 total=7.5")
    assert [m.to_document() | {"ts": ""} for m in collector.poll()] == [
        {"ts": "", "step": 3, "loss": 2.0}
    ]


values = st.dictionaries(
    st.text(min_size=1, max_size=8).filter(lambda name: name not in ("ts", "step", "total")),
    st.floats(allow_nan=False),
    max_size=4,
)


@given(st.none() | st.integers(0, 10**12), values, st.none() | st.integers(1, 10**9))
def test_a_line_says_what_the_metric_said(
    step: int | None, values: dict[str, float], total: int | None
) -> None:
    metric = Metric("2026-01-01T00:00:00.000Z", step, values, total)
    line = metric.to_json()
    assert "\n" not in line
    assert Metric.from_json(line) == metric


def test_what_is_not_finite_is_a_string_in_strict_json() -> None:
    metric = Metric("t", 1, {"a": math.nan, "b": math.inf, "c": -math.inf})
    document = json.loads(metric.to_json(), parse_constant=pytest.fail)
    assert document == {"ts": "t", "step": 1, "a": "NaN", "b": "Infinity", "c": "-Infinity"}
    back = Metric.from_json(metric.to_json()).values
    assert math.isnan(back["a"])
    assert (back["b"], back["c"]) == (math.inf, -math.inf)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "5",
        "{}",
        '{"ts": 5}',
        '{"ts": "t", "step": "x"}',
        '{"ts": "t", "loss": "x"}',
        '{"ts": "t", "loss": []}',
    ],
)
def test_a_line_that_is_no_metric_is_a_value_error(line: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        Metric.from_json(line)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("train/loss", "loss"), ("eval/loss", "eval_loss"), ("val_loss", "eval_loss"),
     ("Validation Loss", "eval_loss"), ("learning_rate", "lr"), ("train/learning_rate", "lr"),
     ("tok/s", "tok_s"), ("evaluation_loss_vs_iterations", "eval_loss"), ("value", "value"),
     ("train_loss", "train_loss"), ("train loss", "train_loss")],
)  # fmt: skip
def test_one_thing_has_one_name(name: str, wanted: str) -> None:
    assert canonical(name) == wanted


def history(*marks: tuple[float, int], total: int | None = None) -> History:
    found = History()
    for at_s, step in marks:
        found.add(Metric(rfc3339(at_s), step, {"loss": 1.0}, total))
    return found


def test_no_metrics_tell_nothing() -> None:
    assert History().progress() == Progress()


def test_speed_is_the_median_so_a_pause_is_no_slowness() -> None:
    """One pause of 100 s to evaluate leaves 10 steps a second."""
    marks = [(float(t + 100 * (t > 5)), t * 10) for t in range(1, 11)]
    progress = history(*marks, total=200).progress()
    assert progress.steps_per_s == pytest.approx(10.0)
    assert progress.remaining_s == pytest.approx(10.0)
    assert (progress.step, progress.total) == (100, 200)


def test_a_burst_of_lines_is_no_speed() -> None:
    """A program that buffers its output prints 10 s worth of lines at once."""
    marks = [
        (block * 10.0 + i / 1000, block * 100 + i * 10) for block in range(1, 6) for i in range(10)
    ]
    assert history(*marks).progress().steps_per_s == pytest.approx(10.0, rel=0.01)


def test_a_training_that_was_resumed_has_the_speed_of_now() -> None:
    progress = history((1, 100), (2, 200), (50, 150), (51, 151), (52, 152), total=160).progress()
    assert progress.step == 152
    assert progress.steps_per_s == pytest.approx(1.0)
    assert progress.remaining_s == pytest.approx(8.0)


def test_a_single_line_has_no_speed_and_a_finished_job_no_time_left() -> None:
    assert history((1, 5)).progress().steps_per_s is None
    assert history((1, 5), (2, 10), total=10).progress().remaining_s == 0.0
    assert history((5, 5), (1, 6), total=10).progress().remaining_s is None


def test_a_correction_of_an_earlier_step_is_not_the_latest_value() -> None:
    found = history((1, 5), (2, 10))
    found.add(Metric(rfc3339(1), 5, {"loss": 7.0, "lr": 0.5}))
    assert found.progress().values == {"loss": 1.0, "lr": 0.5}
    assert found.progress().step == 10
    assert found.curve() == [(5, 7.0), (10, 1.0)]


def test_the_values_are_the_latest_of_each_name() -> None:
    found = History()
    found.add(Metric(rfc3339(1), 10, {"loss": 2.0, "eval_loss": 3.0, "tok_s": 500.0}))
    found.add(Metric(rfc3339(2), 20, {"loss": 1.0}))
    assert found.progress().values == {"loss": 1.0, "eval_loss": 3.0, "tok_s": 500.0}
    assert found.progress().tokens_per_s == 500.0


def test_a_curve_of_any_length_keeps_its_shape_and_its_end() -> None:
    found = History()
    steps = POINTS_MAX * 5
    for step in range(steps):
        found.add(Metric("2026-01-01T00:00:00Z", step, {"loss": float(step)}))
    points = found.curve()
    assert POINTS_MAX / 4 < len(points) <= POINTS_MAX + 1
    assert points[0][0] < steps / 1000
    assert points[-1][0] == steps - 1
    assert all(x == y for x, y in points)


def test_the_loss_of_a_training_may_be_called_train_loss() -> None:
    found = History()
    found.add(Metric(rfc3339(1), None, {"train_loss": 2.0}))
    assert found.curve("loss") == [(1, 2.0)]
    assert found.curve("eval_loss") == []


def test_a_time_that_is_none_does_no_harm() -> None:
    found = History()
    found.add(Metric("yesterday", 1, {"loss": 2.0}))
    assert found.progress().values == {"loss": 2.0}
