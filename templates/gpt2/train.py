"""Train a GPT-2 of Hugging Face Transformers from scratch, on bytes, with nothing downloaded.

The text is the source code of Python's standard library; a byte is a token, so the vocabulary is
256 and the tokenizer is `bytes`. Put your own text into `load_text`, and your own model (or one
from a hub) into `main`: what the Trainer does, how it saves and how it resumes stays as it is.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import sysconfig
import time
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch.utils.data import Dataset
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    logging,
    set_seed,
)

CHECKPOINTS = Path(os.environ.get("LLMCLOUD_CHECKPOINT_DIR", "checkpoints"))
OUTPUTS = Path(os.environ.get("LLMCLOUD_OUTPUT_DIR", "results"))


@dataclass(frozen=True)
class Options:
    max_steps: int = 200
    batch_size: int = 8  # stretches of text a step, on each device
    context: int = 128  # bytes that the model looks back
    width: int = 128
    layers: int = 5
    heads: int = 4
    learning_rate: float = 2e-3
    warmup_steps: int = 20
    log_every: int = 10
    save_every: int = 50
    seed: int = 0


def main() -> None:
    options = parse_options()
    set_seed(options.seed)
    logging.disable_progress_bar()
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=256,
            n_positions=options.context,
            n_embd=options.width,
            n_layer=options.layers,
            n_head=options.heads,
            resid_pdrop=0.0,  # one pass over a small part of the text can't be learnt by heart
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=None,  # every byte is text
            eos_token_id=None,
        )
    )
    watch = Watch(options)
    trainer = Trainer(
        model,
        training_arguments(options),
        train_dataset=Stretches(load_text(), options.context),
        callbacks=[watch],
    )
    print(f"{model.num_parameters()} parameters")
    print(f"total steps: {options.max_steps}", flush=True)
    newest = newest_checkpoint()
    if newest and step_of(newest) >= options.max_steps:  # the Trainer would do one step too many
        model = GPT2LMHeadModel.from_pretrained(newest)
    else:
        trainer.train(resume_from_checkpoint=newest and str(newest))
    if watch.stopped:
        sys.exit(143)  # as SIGTERM does: a run that was interrupted must not look finished
    write_sample(model, options)


def parse_options() -> Options:
    """Read the hyperparameters: `{hyperparameters}` in the job file becomes flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for field in fields(Options):
        parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default)
    return Options(**vars(parser.parse_args()))


def training_arguments(options: Options) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(CHECKPOINTS),
        max_steps=options.max_steps,
        per_device_train_batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=options.warmup_steps,
        weight_decay=0.1,
        seed=options.seed,
        logging_first_step=True,
        logging_steps=options.log_every,
        save_steps=options.save_every,
        save_total_limit=3,
        disable_tqdm=True,  # a line for each log; a bar is of no use in a file
        report_to="none",
        dataloader_pin_memory=torch.cuda.is_available(),
    )


def newest_checkpoint() -> Path | None:
    """Return the newest whole checkpoint; the Trainer writes trainer_state.json last."""
    found = [path.parent for path in CHECKPOINTS.glob("checkpoint-*/trainer_state.json")]
    if not found:
        return None
    newest = max(found, key=step_of)
    print(f"resumed from step {step_of(newest)}", flush=True)
    return newest


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-"))


class Watch(TrainerCallback):
    """Tells the step and the speed in each log line, and turns SIGTERM into a last checkpoint."""

    def __init__(self, options: Options) -> None:
        self.stopped = False
        self._tokens_a_step = options.batch_size * options.context
        signal.signal(signal.SIGTERM, self._stop)

    def _stop(self, _number: int, _frame: object) -> None:
        self.stopped = True  # the step under way is finished first

    def on_train_begin(self, _args: object, state: TrainerState, *_: object, **__: object) -> None:
        self._started, self._first_step = time.perf_counter(), state.global_step

    def on_step_end(
        self, _args: object, _state: object, control: TrainerControl, **_: object
    ) -> None:
        if self.stopped:
            control.should_save = control.should_training_stop = True

    def on_log(
        self, _args: object, state: TrainerState, _control: object, logs: dict, **_: object
    ) -> None:
        steps = state.global_step - self._first_step
        speed = steps * self._tokens_a_step / (time.perf_counter() - self._started)
        logs.update(step=state.global_step, tok_s=round(speed))


def load_text() -> bytes:
    """Return the standard library's top-level modules, one after the other."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    return b"\n".join(file.read_bytes() for file in files)


class Stretches(Dataset):
    """A text cut into stretches of `length` bytes; the model itself shifts the labels by one."""

    def __init__(self, text: bytes, length: int) -> None:
        self._text, self._length = text, length

    def __len__(self) -> int:
        return len(self._text) // self._length

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        start = index * self._length
        tokens = torch.tensor(list(self._text[start : start + self._length]))
        return {"input_ids": tokens, "labels": tokens}


def write_sample(model: GPT2LMHeadModel, options: Options) -> None:
    prompt = torch.tensor([list(b"def ")], device=model.device)
    tokens = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=options.context - prompt.shape[1],
        num_return_sequences=3,
        do_sample=True,
        temperature=0.8,
    )
    OUTPUTS.mkdir(parents=True, exist_ok=True)
    text = b"\n----\n".join(bytes(each.tolist()) for each in tokens).decode(errors="replace")
    (OUTPUTS / "sample.txt").write_text(text + "\n", encoding="utf-8")
    print(f"a sample:\n{text}", flush=True)


if __name__ == "__main__":
    main()
