"""Metrics out of what trainings print."""

import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcloud.runtime.errors import InvalidRequest
from llmcloud.runtime.metrics.metric import Reading
from llmcloud.runtime.metrics.patterns import OwnPattern, compile_pattern
from llmcloud.runtime.metrics.stdout import LINE_CHARS_MAX, StdoutParser
from llmcloud.runtime.task import MetricPattern

GOLDEN = Path(__file__).parent / "golden" / "metrics"


def read_all(text: str, *patterns: MetricPattern) -> list[Reading]:
    parser = StdoutParser(patterns, clock=lambda: 0.0)
    found = [reading for piece in re.split(r"(?<=[\r\n])", text) for reading in parser.feed(piece)]
    return found + parser.flush()


def read_one(line: str, *patterns: MetricPattern) -> tuple[int | None, dict[str, float]]:
    (reading,) = read_all(line, *patterns)
    return reading.step, reading.values


def golden(name: str) -> list[Reading]:
    return read_all((GOLDEN / name).read_bytes().decode())


def curve(readings: list[Reading], name: str = "loss") -> dict[int | None, float]:
    return {each.step: each.values[name] for each in readings if name in each.values}


@pytest.mark.parametrize("version", [4, 5])
def test_hf_trainer_s_dicts_get_their_steps_from_the_bar(version: int) -> None:
    """5.x prints its numbers quoted; neither prints a step."""
    found = golden(f"hf-trainer-{version}.txt")
    assert curve(found) == {5: 1.959, 10: 1.95, 15: 1.961, 20: 1.959, 25: 1.949, 30: 1.957}
    assert curve(found, "eval_loss") == {15: 1.963, 30: 1.963}
    assert curve(found, "lr")[5] == 4.333e-05
    assert {each.total for each in found} == {30}


def test_a_dict_whose_bar_comes_late_has_the_step_of_the_bar_before() -> None:
    """The two streams are two pipes, so the bar may overtake its dict."""
    now = 0.0
    parser = StdoutParser(clock=lambda: now)
    parser.feed("  5%|5         | 10/200 [00:01<00:19,  9.9it/s]\r")
    assert parser.feed("{'loss': 2.5, 'epoch': 0.1}") == []
    now = 0.1
    (found,) = parser.feed("  6%|6         | 11/200 [00:01<00:19,  9.9it/s]\r")
    assert (found.step, found.total) == (10, 200)


def test_a_dict_does_not_wait_for_longer_than_to_the_next_poll() -> None:
    parser = StdoutParser()
    parser.feed("{'loss': 2.5}")
    assert parser.flush() == [Reading(None, {"loss": 2.5})]
    assert parser.flush() == []


def test_nanogpt_s_lines_are_read() -> None:
    found = golden("nanogpt.txt")
    steps = curve(found)
    assert [*steps] == [0, 10, 20, 250, 260]
    assert steps[10] == 3.1461
    assert math.isnan(steps[260])
    assert curve(found, "train_loss") == {0: 4.2874, 250: 1.9684}
    assert curve(found, "eval_loss") == {0: 4.2823, 250: 2.0643}


def test_keras_3_s_bars_are_read_over_all_epochs() -> None:
    """What evaluate() draws afterwards is no step."""
    found = golden("keras-3.txt")
    assert [*curve(found)] == [1, 3, 4, 6, 7, 9]
    assert curve(found, "eval_loss") == {3: 0.7914, 6: 0.7889, 9: 0.7865}
    assert {each.total for each in found} == {9}


def test_keras_2_s_bars_are_read_between_backspaces() -> None:
    assert curve(golden("keras-2.txt")) == {
        1: 0.71, 25: 0.69, 50: 0.66, 51: 0.71, 75: 0.345, 100: 0.33,
    }  # fmt: skip


def test_a_tqdm_bar_with_a_postfix_is_read() -> None:
    found = golden("tqdm-postfix.txt")
    assert curve(found)[19] == 1.1
    assert {each.total for each in found} == {20}


def test_lightning_s_bar_is_read_as_far_as_it_goes() -> None:
    line = "Epoch 2:  50%|#####     | 5/10 [00:00<00:00, 50.0it/s, v_num=3, train_loss=2.3]"
    assert read_one(line) == (25, {"epoch": 2.0, "train_loss": 2.3})
    assert curve(golden("lightning-2.txt"), "train_loss") == {None: 0.062}


@pytest.mark.parametrize(
    ("line", "step", "values"),
    [
        (
            "iter 10: loss 3.1234, lr 3.0e-04, tok/s 140000",
            10,
            {"loss": 3.1234, "lr": 3e-4, "tok_s": 140000.0},
        ),
        ("step=10 loss=2.5 lr=1e-4", 10, {"loss": 2.5, "lr": 1e-4}),
        ("2026-01-01 10:00:00 INFO step: 1,200 | loss: 2.5", 1200, {"loss": 2.5}),
        ("Step 7/100 Loss: 0.5 reward: 3", 7, {"loss": 0.5, "reward": 3.0}),
        ("step=3 reward=-1.5", 3, {"reward": -1.5}),
        ("Epoch [1/3], Step [10/200], Loss: 2.3", 10, {"loss": 2.3, "epoch": 1.0}),
        ("global_step: 5, train/loss: inf", 5, {"loss": math.inf}),
        ("Final loss: 0.25.", None, {"loss": 0.25}),
        ("validation loss: 1.5", None, {"eval_loss": 1.5}),
        ("[1,0]<stdout>:step=4 loss=2", 4, {"loss": 2.0}),
        ('{"step": 3, "loss": 2.5, "msg": "ok", "ok": true}', 3, {"loss": 2.5}),
        ('INFO:root:{"global_step": 3, "learning_rate": "1e-3"}', 3, {"lr": 1e-3}),
        ("{'train_loss': 2.5, 'accuracy': 0.5}", None, {"train_loss": 2.5, "accuracy": 0.5}),
    ],
)
def test_a_metric_line_is_read(line: str, step: int | None, values: dict[str, float]) -> None:
    assert read_one(line) == (step, values)


@pytest.mark.parametrize(
    "line",
    [
        "http=80",
        "loss of connection",
        "packet loss: 3",
        "12 packets, 25% packet loss, time 40ms",
        "python train.py --learning_rate=0.0003 --loss=mse --steps=100",
        "step 3: downloading 5 files",
        "Step 1 of 3 took 5s",
        "Epoch 3 begins",
        "loss function: cross_entropy",
        "loss: 5ms",
        "lr=3e-4 batch_size=32",
        "Downloading:  50%|#####     | 5/10 [00:00<00:00, 5.0MB/s]",
        "/data/step-100/loss.txt",
        "{'step': None, 'loss': None}",
        '{"loss"',
        '{"level": "info", "port": 80, "message": "step by step"}',
        "WARNING: 3 losses",
    ],
)
def test_ordinary_text_is_no_metric(line: str) -> None:
    assert read_all(line) == []


@pytest.mark.parametrize(
    "line", ["total steps: 1000", "max_iters = 1,000", "  Total optimization steps = 1000"]
)
def test_the_total_is_read_where_it_is_announced(line: str) -> None:
    assert read_all(line) == [Reading(None, {}, 1000)]


def test_steps_that_start_anew_in_each_epoch_are_counted_on() -> None:
    text = "".join(
        f"Epoch [{epoch}/2], Step [{step}/200], Loss: 2.0\n"
        for epoch in (1, 2)
        for step in (100, 200)
    )
    assert [*curve(read_all(text))] == [100, 200, 300, 400]


def test_steps_that_go_on_over_the_epochs_are_left_as_they_are() -> None:
    text = "epoch 1 step 90/200 loss 2.0\nepoch 2 step 110/200 loss 1.9\n"
    assert [*curve(read_all(text))] == [90, 110]


def test_the_user_s_pattern_has_the_last_word() -> None:
    own = MetricPattern("loss", r"MEAN ([0-9.]+)")
    assert read_one("iter 3: loss 9.0, lr 0.1 MEAN 2.5", own) == (3, {"loss": 2.5, "lr": 0.1})


def test_the_user_s_pattern_reads_what_nothing_else_would() -> None:
    patterns = [MetricPattern("score", r"SCORE (\S+)"), MetricPattern("step", r"#(\d+)")]
    assert read_one("#12 SCORE 0.75", *patterns) == (12, {"score": 0.75})
    assert read_all("#12 SCORE high", MetricPattern("score", r"SCORE (\S+)")) == []


def test_a_value_without_a_step_belongs_to_the_bar_s() -> None:
    text = " 50%|#####     | 5/10 [00:00<00:00, 5.0it/s]\rSCORE 0.75\n"
    (found,) = read_all(text, MetricPattern("score", r"SCORE (\S+)"))
    assert (found.step, found.values) == (5, {"score": 0.75})


@pytest.mark.parametrize(
    "regex",
    ["(a+)+b", r"(\w+\s?)*x(\d)", "(a|ab)*c", "((a?){20})x{5,}", "(?:(?:x*)y)*(1)", "loss", "("],
)
def test_a_pattern_that_could_run_away_or_reads_nothing_is_refused(regex: str) -> None:
    """The error says how to write it."""
    with pytest.raises(InvalidRequest) as refused:
        compile_pattern(MetricPattern("m", regex))
    assert refused.value.fix
    assert "m" in refused.value.where


@pytest.mark.parametrize(
    "regex",
    [
        r"loss=([0-9.]+)",
        r"loss[:=]\s*([-+]?\d*\.?\d+(?:[eE][-+]?\d+)?)",
        r"(?:train|val)_loss (\d+(?:\.\d+)?)",
        r"step (?P<step>\d+)",
    ],
)
def test_a_usual_pattern_is_accepted(regex: str) -> None:
    assert compile_pattern(MetricPattern("m", regex)).groups


def test_a_pattern_that_proves_slow_is_given_up() -> None:
    ticks = iter(range(0, 100, 3))
    pattern = OwnPattern(MetricPattern("m", "a(b)"), clock=lambda: float(next(ticks)))
    pattern.read("x")
    assert pattern.gave_up
    assert pattern.read("ab") is None


def test_a_pattern_sees_only_the_beginning_of_a_long_line() -> None:
    own = MetricPattern("m", "m=([0-9])")
    assert read_all("x" * LINE_CHARS_MAX + "m=1", own) == []
    assert read_one("x" * (LINE_CHARS_MAX - 3) + "m=1", own) == (None, {"m": 1.0})


scraps = st.sampled_from(
    ["loss", "step", "iter 1", "=", ": ", " ", "{'", "'", "1e999", "9" * 30, "nan", "-", "%|", "| ",
     "1/2 [", "]", "\r", "\b", "\x1b[1m", "\x1b[A", "epoch 1/2", ",", " - ", '{"', '": ', "}", "."]
)  # fmt: skip


@given(st.lists(st.one_of(scraps, st.text(max_size=5)), max_size=40).map("".join))
def test_junk_never_breaks_the_parser(text: str) -> None:
    """What it makes of it has numbers for values and whole numbers for steps."""
    for reading in read_all(text, MetricPattern("own", "1(.*)")):
        assert reading.step is None or isinstance(reading.step, int)
        assert all(isinstance(value, float) for value in reading.values.values())


@given(
    st.integers(0, 10**9),
    st.floats(allow_nan=False, width=32),
    st.sampled_from(["step={} loss={}", "iter {}: loss {:.4f}", '{{"step": {}, "loss": {}}}']),
)
def test_what_is_printed_is_what_is_read(step: int, loss: float, form: str) -> None:
    line = form.format(step, loss)
    if "Infinity" in line or len(line) > 60:  # more digits than anyone prints
        return
    read_step, values = read_one(line)
    assert read_step == step
    assert math.isclose(values["loss"], loss, rel_tol=1e-6, abs_tol=1e-4)
