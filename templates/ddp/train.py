"""Train a small GPT on several nodes: PyTorch's DistributedDataParallel, started by torchrun.

Every process holds the whole model and reads batches of its own; DDP averages the gradients. The
text is the source code of Python's standard library, a byte is a token. To try it by hand:

    torchrun --nproc-per-node=2 train.py --max_steps=100
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import sys
import sysconfig
import time
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

VOCABULARY = 256
CHECKPOINTS = Path(os.environ.get("LLMCLOUD_CHECKPOINT_DIR", "checkpoints"))
OUTPUTS = Path(os.environ.get("LLMCLOUD_OUTPUT_DIR", "results"))


@dataclass(frozen=True)
class Options:
    max_steps: int = 500
    batch_size: int = 8  # stretches of text a step, in each process
    context: int = 64  # bytes that the model looks back
    width: int = 64
    heads: int = 4
    layers: int = 2
    learning_rate: float = 5e-3
    warmup_steps: int = 50
    seed: int = 0
    log_every: int = 10
    save_every: int = 50


def main() -> None:
    options = parse_options()
    stopping: list[int] = []  # SIGTERM only takes a note: the step under way is finished first
    signal.signal(signal.SIGTERM, lambda number, _frame: stopping.append(number))

    device = join_the_others()
    torch.manual_seed(options.seed)
    model = GPT(options).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.1)
    first_step = resume(model, optimizer)
    parallel = DistributedDataParallel(model)
    text = load_text()
    say(f"total steps: {options.max_steps}")

    started, tokens_seen = time.perf_counter(), 0
    for step in range(first_step + 1, options.max_steps + 1):
        inputs, targets = pick_batch(text, options, step, device)
        loss = cross_entropy(parallel(inputs), targets)
        optimizer.zero_grad()
        loss.backward()  # here the processes wait for each other and average their gradients
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        rate = optimizer.param_groups[0]["lr"] = learning_rate(options, step)
        optimizer.step()

        # What must be known everywhere: the mean loss, and whether anyone was told to stop, since
        # all have to stop after the same step.
        news = torch.tensor([loss.item(), float(bool(stopping))], device=device)
        dist.all_reduce(news)
        mean_loss, stop = news[0].item() / dist.get_world_size(), news[1].item() > 0

        tokens_seen += inputs.numel() * dist.get_world_size()
        if step % options.log_every == 0 or step in (1, options.max_steps):
            speed = tokens_seen / (time.perf_counter() - started)
            say(f"iter {step}: loss {mean_loss:.4f}, lr {rate:.1e}, tok/s {speed:.0f}")
        if step % options.save_every == 0 or step == options.max_steps or stop:
            save(model, optimizer, step)
        if stop:
            say(f"stopped after step {step}")
            leave_together(143)

    if dist.get_rank() == 0:
        write_sample(model, options, device)
    leave_together()


def parse_options() -> Options:
    """Read the hyperparameters: `{hyperparameters}` in the job file becomes flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for field in fields(Options):
        parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    return Options(**vars(parser.parse_args()))


# ---- the processes among each other --------------------------------------------------


def join_the_others() -> torch.device:
    """Meet the other processes where torchrun's variables say, and return this one's device.

    The timeout is short, so that the others end soon when a node vanishes without a word, and the
    job's retry can go on from the last checkpoint.
    """
    if os.environ["MASTER_ADDR"].startswith(("127.", "localhost")):
        # All nodes are on this machine, whatever its host name stands for.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    timeout = timedelta(seconds=60)
    if not torch.cuda.is_available():
        dist.init_process_group("gloo", timeout=timeout)
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    dist.init_process_group("nccl", timeout=timeout, device_id=device)
    return device


def leave_together(exit_code: int = 0) -> NoReturn:
    """Wait for the slowest process, rank 0 while it saves, and end.

    torchrun ends the others as soon as one fails. Python's own tidying up is passed over: it may
    abort while gloo's threads still hold tensors (github.com/pytorch/pytorch/issues/190489).
    """
    dist.barrier()
    dist.destroy_process_group()
    sys.stdout.flush()
    os._exit(exit_code)


def say(text: str) -> None:
    if dist.get_rank() == 0:
        print(text, flush=True)


# ---- checkpoints: written and read by rank 0 alone -----------------------------------


def save(model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Write `step-N.pt`; the rename is what makes it appear, so nobody sees half of one."""
    if dist.get_rank() == 0:
        CHECKPOINTS.mkdir(parents=True, exist_ok=True)
        state = {"step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
        partial = CHECKPOINTS / "saving.tmp"
        torch.save(state, partial)
        partial.replace(CHECKPOINTS / f"step-{step}.pt")


def resume(model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Give every process what rank 0 finds, whatever lies on the other nodes' disks."""
    newest = max(CHECKPOINTS.glob("step-*.pt"), key=step_of, default=None)
    found = [torch.load(newest, map_location="cpu") if newest and dist.get_rank() == 0 else None]
    dist.broadcast_object_list(found)
    state = found[0]
    if state is None:
        return 0
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    say(f"resumed from step {state['step']}")
    return state["step"]


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.stem.removeprefix("step-"))


# ---- learning ------------------------------------------------------------------------


def load_text() -> Tensor:
    """Return the standard library's top-level modules, one after the other, as bytes."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    text = b"\n".join(file.read_bytes() for file in files)
    return torch.frombuffer(bytearray(text), dtype=torch.uint8)


def pick_batch(
    text: Tensor, options: Options, step: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return random stretches of the text, and the same one byte further on.

    They depend on the seed, the step and the rank alone: a resumed run sees what an unbroken one
    would have seen, and no two processes see the same.
    """
    number = (options.seed * options.max_steps + step) * dist.get_world_size() + dist.get_rank()
    random = torch.Generator().manual_seed(number)
    last = len(text) - options.context
    starts = torch.randint(last, (options.batch_size, 1), generator=random)
    stretches = text[starts + torch.arange(options.context + 1)].long().to(device)
    return stretches[:, :-1], stretches[:, 1:]


def learning_rate(options: Options, step: int) -> float:
    """Return a rate that climbs in a straight line, then falls along a cosine to a tenth."""
    if step <= options.warmup_steps:
        return options.learning_rate * step / options.warmup_steps
    done = (step - options.warmup_steps) / max(1, options.max_steps - options.warmup_steps)
    return options.learning_rate * (0.1 + 0.9 * (1 + math.cos(math.pi * done)) / 2)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


# ---- the model -----------------------------------------------------------------------


class GPT(nn.Module):
    """Bytes (batch, time) in; for each place a score for each of the 256 next bytes out."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.token = nn.Embedding(VOCABULARY, options.width)
        self.position = nn.Embedding(options.context, options.width)
        blocks = [Block(options.width, options.heads) for _ in range(options.layers)]
        self.blocks = nn.Sequential(*blocks, nn.LayerNorm(options.width))
        self.head = nn.Linear(options.width, VOCABULARY, bias=False)

    def forward(self, text: Tensor) -> Tensor:
        places = torch.arange(text.shape[1], device=text.device)
        return self.head(self.blocks(self.token(text) + self.position(places)))


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        split = self.qkv(self.norm(x)).unflatten(-1, (3, self.heads, -1))
        query, key, value = split.permute(2, 0, 3, 1, 4)  # each (batch, head, time, width)
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).flatten(-2))
        return x + self.mlp(x)


@torch.no_grad()
def write_sample(model: GPT, options: Options, device: torch.device, length: int = 400) -> None:
    torch.manual_seed(options.seed)
    text = list(b"def ")
    for _ in range(length):
        logits = model(torch.tensor([text[-options.context :]], device=device))[0, -1]
        text.append(int(torch.multinomial((logits / 0.8).softmax(-1), 1)))  # under 1: less daring
    OUTPUTS.mkdir(parents=True, exist_ok=True)
    (OUTPUTS / "sample.txt").write_bytes(bytes(text))
    say(f"a sample:\n{bytes(text).decode(errors='replace')}")


if __name__ == "__main__":
    main()
