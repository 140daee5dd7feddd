"""Train a small GPT on the source code of Python's standard library, with nothing but numpy.

The model reads bytes (a vocabulary of 256, so there is no tokenizer) and learns to tell which
byte comes next. It is a whole GPT all the same: embeddings, causal self-attention, an MLP, layer
norm, AdamW, and a backward pass written by hand. Read it from the top: training first, then the
model, then the layers that it is made of.

    python train.py --max_steps=500
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import sysconfig
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

Array = np.ndarray
Backward = Callable[[Array], Array]  # takes d loss / d output, returns d loss / d input
Layer = Callable[[Array], tuple[Array, Backward]]

VOCABULARY = 256
CHECKPOINTS = Path(os.environ.get("LLMCLOUD_CHECKPOINT_DIR", "checkpoints"))
OUTPUTS = Path(os.environ.get("LLMCLOUD_OUTPUT_DIR", "results"))


@dataclass(frozen=True)
class Options:
    max_steps: int = 2000
    batch_size: int = 16  # stretches of text a step
    context: int = 64  # bytes that the model looks back
    width: int = 32  # numbers that stand for one byte
    heads: int = 2
    layers: int = 1
    learning_rate: float = 1e-2
    warmup_steps: int = 50
    weight_decay: float = 0.1
    seed: int = 0
    log_every: int = 10
    save_every: int = 100


def main() -> None:
    options = parse_options()
    stopping: list[int] = []  # SIGTERM only takes a note: the step under way is finished first
    signal.signal(signal.SIGTERM, lambda number, _frame: stopping.append(number))

    text = load_text()
    training, held_out = text[:-50_000], text[-50_000:]
    model = GPT(options)
    first_step = resume(model)
    count = sum(each.value.size for each in model.parameters.values())
    print(f"{count} parameters, {len(text)} bytes of text")
    print(f"total steps: {options.max_steps}", flush=True)

    started, tokens_seen = time.perf_counter(), 0
    for step in range(first_step + 1, options.max_steps + 1):
        inputs, targets = pick_batch(training, options, step)
        logits, backward = model.forward(inputs)
        loss, slope = cross_entropy(logits, targets)
        backward(slope)
        rate = learning_rate(options, step)
        adamw(model.parameters.values(), rate, step, options.weight_decay)

        tokens_seen += inputs.size
        if step % options.log_every == 0 or step in (1, options.max_steps):
            speed = tokens_seen / (time.perf_counter() - started)
            print(f"iter {step}: loss {loss:.4f}, lr {rate:.1e}, tok/s {speed:.0f}", flush=True)
        if step % options.save_every == 0 or step == options.max_steps or stopping:
            save(model, step)
        if stopping:
            print(f"stopped after step {step}", flush=True)
            sys.exit(128 + stopping[0])

    report(model, held_out, options)


def parse_options() -> Options:
    """Read the hyperparameters: `{hyperparameters}` in the job file becomes flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for field in fields(Options):
        parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    return Options(**vars(parser.parse_args()))


# ---- the text ------------------------------------------------------------------------


def load_text() -> Array:
    """Return the standard library's top-level modules, one after the other, as bytes."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    return np.frombuffer(b"\n".join(file.read_bytes() for file in files), dtype=np.uint8)


def pick_batch(text: Array, options: Options, step: int) -> tuple[Array, Array]:
    """Return random stretches of the text, and the same stretches one byte further on.

    The choice depends on the seed and the step alone, so a resumed run sees exactly the batches
    that an unbroken one would have seen, and no state of a random generator has to be saved.
    """
    random = np.random.default_rng([options.seed, step])
    starts = random.integers(len(text) - options.context, size=(options.batch_size, 1))
    stretches = text[starts + np.arange(options.context + 1)]
    return stretches[:, :-1], stretches[:, 1:]


# ---- checkpoints: everything the next step needs, complete or not there at all -------


def save(model: GPT, step: int) -> None:
    """Write `step-N.npz`; the rename is what makes it appear, so nobody sees half of one."""
    CHECKPOINTS.mkdir(parents=True, exist_ok=True)
    partial = CHECKPOINTS / "saving.tmp"
    with partial.open("wb") as file:
        np.savez(file, step=step, **model.state())
    partial.replace(CHECKPOINTS / f"step-{step}.npz")


def resume(model: GPT) -> int:
    """Load the newest checkpoint, if there is one, and return the step it was made at."""
    found = {int(path.stem.removeprefix("step-")): path for path in CHECKPOINTS.glob("step-*.npz")}
    if not found:
        return 0
    step = max(found)
    with np.load(found[step]) as arrays:
        for name, array in model.state().items():
            array[...] = arrays[name]
    print(f"resumed from step {step}", flush=True)
    return step


# ---- learning ------------------------------------------------------------------------


def learning_rate(options: Options, step: int) -> float:
    """Return a rate that climbs in a straight line, then falls along a cosine to a tenth."""
    if step <= options.warmup_steps:
        return options.learning_rate * step / options.warmup_steps
    done = (step - options.warmup_steps) / max(1, options.max_steps - options.warmup_steps)
    return options.learning_rate * (0.1 + 0.9 * (1 + math.cos(math.pi * done)) / 2)


def adamw(parameters: Collection[Parameter], rate: float, step: int, weight_decay: float) -> None:
    """Move each parameter against its gradient, every number at a pace of its own."""
    beta1, beta2, clip = 0.9, 0.99, 1.0
    norm = math.sqrt(sum(np.vdot(each.gradient, each.gradient) for each in parameters))
    for each in parameters:
        gradient = each.gradient * min(1.0, clip / (norm + 1e-6))  # one odd batch must not ruin it
        each.mean += (1 - beta1) * (gradient - each.mean)
        each.square += (1 - beta2) * (gradient**2 - each.square)
        mean = each.mean / (1 - beta1**step)  # both began at zero: make up for it
        square = each.square / (1 - beta2**step)
        if each.value.ndim > 1:  # matrices are kept small, gains are not
            each.value *= 1 - rate * weight_decay
        each.value -= rate * mean / (np.sqrt(square) + 1e-8)
        each.gradient[...] = 0


def cross_entropy(logits: Array, targets: Array) -> tuple[float, Array]:
    """Return the mean of -log p(target), and its slope with respect to the logits."""
    probabilities = softmax(logits).reshape(targets.size, -1)
    chosen = np.arange(targets.size), targets.ravel()
    loss = -np.log(probabilities[chosen]).mean()
    probabilities[chosen] -= 1  # d loss / d logits is p - 1 where the target is, p elsewhere
    return float(loss), (probabilities / targets.size).reshape(logits.shape)


# ---- the model -----------------------------------------------------------------------


@dataclass(eq=False)
class Parameter:
    """Some numbers to learn, with their gradient and what AdamW remembers of it."""

    value: Array

    def __post_init__(self) -> None:
        self.gradient, self.mean, self.square = (np.zeros_like(self.value) for _ in range(3))


class GPT:
    """Bytes (batch, time) in; for each place a score for each of the 256 next bytes out."""

    def __init__(self, options: Options, dtype: type = np.float32) -> None:
        self.parameters: dict[str, Parameter] = {}
        random = np.random.default_rng(options.seed)

        def matrix(name: str, rows: int, columns: int, spread: float) -> Parameter:
            value = random.normal(0, spread, (rows, columns)).astype(dtype)
            return self.parameters.setdefault(name, Parameter(value))

        def gain(name: str) -> Parameter:
            return self.parameters.setdefault(name, Parameter(np.ones(options.width, dtype)))

        width, fan_in = options.width, options.width**-0.5
        token = matrix("token", VOCABULARY, width, 0.1)
        position = matrix("position", options.context, width, 0.1)
        layers: list[Layer] = [embedding(token, position)]
        for i in range(options.layers):
            layers += [
                residual(
                    layer_norm(gain(f"{i}.attention.norm")),
                    linear(matrix(f"{i}.attention.qkv", width, 3 * width, fan_in)),
                    causal_attention(options.heads),
                    linear(matrix(f"{i}.attention.out", width, width, 0.5 * fan_in)),
                ),
                residual(
                    layer_norm(gain(f"{i}.mlp.norm")),
                    linear(matrix(f"{i}.mlp.up", width, 4 * width, fan_in)),
                    relu_squared,
                    linear(matrix(f"{i}.mlp.down", 4 * width, width, 0.25 * fan_in)),
                ),
            ]
        head = matrix("head", width, VOCABULARY, 0.1 * fan_in)
        self.forward = chain(*layers, layer_norm(gain("norm")), linear(head))

    def state(self) -> dict[str, Array]:
        """Return every array that a checkpoint must hold, by name; they are not copies."""
        kinds = ("value", "mean", "square")
        return {f"{n}:{k}": getattr(p, k) for n, p in self.parameters.items() for k in kinds}


# ---- the layers: each takes x, and returns y and a function from d loss/d y to d loss/d x


def chain(*layers: Layer) -> Layer:
    """Put layers in a row; going backwards, the last comes first."""

    def forward(x: Array) -> tuple[Array, Backward]:
        backwards: list[Backward] = []
        for layer in layers:
            x, backward = layer(x)
            backwards.append(backward)

        def backward_all(slope: Array) -> Array:
            for backward in reversed(backwards):
                slope = backward(slope)
            return slope

        return x, backward_all

    return forward


def residual(*layers: Layer) -> Layer:
    """Add what the layers make of x to x itself, so that the slope has a short way back."""
    inner = chain(*layers)

    def forward(x: Array) -> tuple[Array, Backward]:
        y, backward = inner(x)
        return x + y, lambda slope: slope + backward(slope)

    return forward


def embedding(token: Parameter, position: Parameter) -> Layer:
    """Look up a vector for each byte, and add one for the place where it stands."""

    def forward(x: Array) -> tuple[Array, Backward]:
        def backward(slope: Array) -> Array:
            position.gradient[: x.shape[1]] += slope.sum(axis=0)
            np.add.at(token.gradient, x, slope)  # a byte that occurs twice learns twice
            return slope

        return token.value[x] + position.value[: x.shape[1]], backward

    return forward


def linear(weight: Parameter) -> Layer:
    def forward(x: Array) -> tuple[Array, Backward]:
        rows = x.reshape(-1, x.shape[-1])

        def backward(slope: Array) -> Array:
            slopes = slope.reshape(-1, slope.shape[-1])
            weight.gradient += rows.T @ slopes
            return (slopes @ weight.value.T).reshape(x.shape)

        return (rows @ weight.value).reshape(*x.shape[:-1], -1), backward

    return forward


def layer_norm(gain: Parameter) -> Layer:
    """Give each vector mean 0 and variance 1, then stretch it by what was learnt."""

    def forward(x: Array) -> tuple[Array, Backward]:
        centred = x - x.mean(axis=-1, keepdims=True)
        scale = 1 / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
        normal = centred * scale

        def backward(slope: Array) -> Array:
            gain.gradient += (slope * normal).sum(axis=(0, 1))
            slope = slope * gain.value
            shift = slope.mean(axis=-1, keepdims=True)  # to shift or stretch x changes nothing:
            stretch = (slope * normal).mean(axis=-1, keepdims=True)  # take these directions out
            return scale * (slope - shift - normal * stretch)

        return normal * gain.value, backward

    return forward


def relu_squared(x: Array) -> tuple[Array, Backward]:
    positive = np.maximum(x, 0)
    return positive**2, lambda slope: slope * 2 * positive


def causal_attention(heads: int) -> Layer:
    """Let each place gather from the places before it what its query asks of their keys."""

    def forward(x: Array) -> tuple[Array, Backward]:
        batch, length, width = *x.shape[:2], x.shape[2] // 3
        split = x.reshape(batch, length, 3, heads, width // heads).transpose(2, 0, 3, 1, 4)
        query, key, value = split  # each (batch, head, time, width of a head)
        shrink = (width // heads) ** -0.5
        scores = query @ key.swapaxes(-1, -2) * shrink
        future = np.triu(np.full((length, length), -np.inf, x.dtype), k=1)
        weights = softmax(scores + future)
        y = (weights @ value).transpose(0, 2, 1, 3).reshape(batch, length, width)

        def backward(slope: Array) -> Array:
            slope = slope.reshape(batch, length, heads, -1).transpose(0, 2, 1, 3)
            d_weights = slope @ value.swapaxes(-1, -2)
            d_scores = weights * (d_weights - (d_weights * weights).sum(axis=-1, keepdims=True))
            d_scores *= shrink
            d_split = np.empty_like(split)
            d_split[0] = d_scores @ key
            d_split[1] = d_scores.swapaxes(-1, -2) @ query
            d_split[2] = weights.swapaxes(-1, -2) @ slope
            return d_split.transpose(1, 3, 0, 2, 4).reshape(x.shape)

        return y, backward

    return forward


def softmax(scores: Array) -> Array:
    raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


# ---- what comes out ------------------------------------------------------------------


def report(model: GPT, held_out: Array, options: Options) -> None:
    """Judge the model by text that it never saw, and let it write some."""
    OUTPUTS.mkdir(parents=True, exist_ok=True)
    inputs, targets = pick_batch(held_out, replace(options, batch_size=200), step=0)
    loss, _ = cross_entropy(model.forward(inputs)[0], targets)
    result = {"step": options.max_steps, "held_out_loss": round(loss, 4)}
    (OUTPUTS / "loss.json").write_text(json.dumps(result) + "\n")
    text = sample(model, b"def ", options)
    (OUTPUTS / "sample.txt").write_bytes(text)
    print(f"held-out loss {loss:.4f}; a sample:\n{text.decode(errors='replace')}", flush=True)


def sample(model: GPT, text: bytes, options: Options, length: int = 400) -> bytes:
    random = np.random.default_rng(options.seed)
    for _ in range(length):
        seen = np.frombuffer(text[-options.context :], dtype=np.uint8)[None]
        odds = softmax(model.forward(seen)[0][0, -1].astype(float) / 0.8)  # under 1: less daring
        text += bytes([random.choice(VOCABULARY, p=odds)])
    return text


if __name__ == "__main__":
    main()
