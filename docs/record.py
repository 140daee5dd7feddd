"""Record a real training, as pictures for the README: python docs/record.py.

Runs the tiny-gpt template through `submit` on a terminal of its own (a pty), has `watch` beside
it on another, and draws what they showed as docs/images/submit.svg and docs/images/watch.svg.
"""

from __future__ import annotations

import fcntl
import html
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from llmcloud.cli import curve

if TYPE_CHECKING:
    from collections.abc import Callable

COLUMNS, ROWS = 96, 28
HEAD, TAIL = 8, 14  # of the lines that submit prints: enough to see what happens
IMAGES = Path(__file__).parent / "images"
LLMCLOUD = Path(sys.executable).with_name("llmcloud")
SUBMIT = "llmcloud submit tiny-gpt/job.yaml"
WATCH = "llmcloud watch tiny-gpt"
PICTURED = 0.7  # how much of the training the picture of watch shows
DEADLINE_S = 300.0
FONTS = "ui-monospace, Menlo, Consolas, DejaVu Sans Mono"  # what people have
# How rich lays a terminal out in an SVG: the size of a character, and where its line begins.
CELL, ASCENT = (12.2, 24.4), 18.5
BRAILLE = re.compile(
    r'<text class="([^"]*)" x="([^"]*)" y="([^"]*)"[^>]*>((?:[\u2801-\u28ff]|&#160;)+)</text>'
)
HOME = b"\x1b[H"  # each picture of watch begins at the top left


def main() -> None:
    """Write both pictures."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        environ = {
            **os.environ,
            "LLMCLOUD_HOME": str(place / "home"),
            "PATH": f"{LLMCLOUD.parent}:{os.environ['PATH']}",
            "TERM": "xterm-256color",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        environ.pop("NO_COLOR", None)
        warm_up(place, environ)
        training = Terminal.run(SUBMIT, place, environ)
        training.read_until(lambda seen: b"iter 1:" in seen)
        live = Terminal.run(WATCH, place, environ)
        live.read_until(lambda seen: share(seen) >= PICTURED)
        live.leave()
        training.read_until(lambda _: False)
        pictures = {
            "submit": f"$ {SUBMIT}\n{shortened(training.text())}",
            "watch": live.frames()[-1].decode(),
        }
        for name, text in pictures.items():
            if folder in text or sys.prefix in text:
                raise SystemExit(f"The picture of {name} would show a path of this machine.")
            draw(name, text)


def warm_up(place: Path, environ: dict[str, str]) -> None:
    """Train for one step, so that the environment which `setup` makes is there already."""
    for line in (
        "llmcloud init tiny-gpt",
        f"{SUBMIT} --set name=one --set hyperparameters.max_steps=1",
    ):
        subprocess.run(line.split(), cwd=place, env=environ, check=True, capture_output=True)


@dataclass
class Terminal:
    """A command on a terminal of its own, and what it has shown."""

    pid: int
    screen: int
    seen: bytearray = field(default_factory=bytearray)

    @classmethod
    def run(cls, line: str, place: Path, environ: dict[str, str]) -> Terminal:
        """Start a command."""
        pid, screen = pty.fork()
        if not pid:
            os.chdir(place)
            size = struct.pack("HHHH", ROWS, COLUMNS, 0, 0)
            fcntl.ioctl(sys.stdout.fileno(), termios.TIOCSWINSZ, size)
            os.execvpe(LLMCLOUD, line.split(), environ)  # noqa: S606
        return cls(pid, screen)

    def read_until(self, enough: Callable[[bytes], bool]) -> None:
        """Read until that is enough or the command has ended."""
        deadline_s = time.monotonic() + DEADLINE_S
        while not enough(bytes(self.seen)):
            if time.monotonic() > deadline_s:
                raise SystemExit("The training takes too long.")
            if select.select([self.screen], [], [], 1.0)[0]:
                try:
                    self.seen += os.read(self.screen, 1 << 16)
                except OSError:  # how Linux says that nobody has the terminal open any more
                    os.waitpid(self.pid, 0)
                    return

    def leave(self) -> None:
        """Press Ctrl-C."""
        os.kill(self.pid, signal.SIGINT)
        self.read_until(lambda _: False)

    def frames(self) -> list[bytes]:
        """Return the whole pictures of a command that draws on the terminal's other screen."""
        drawn = bytes(self.seen).partition(b"\x1b[?1049l")[0]
        return [frame for frame in drawn.split(HOME) if frame.count(b"\n") >= ROWS - 1]

    def text(self) -> str:
        """Return what a command printed that prints line after line."""
        return bytes(self.seen).decode().replace("\r\n", "\n")


def share(seen: bytes) -> float:
    """Return how much of the training the latest picture of watch shows to be done."""
    found = re.findall(rb" (\d+)%", seen.rpartition(HOME)[2].partition(b"\n\r\n")[0])
    return int(found[-1]) / 100 if found else 0.0


def shortened(text: str) -> str:
    """Return the beginning and the end of a long text."""
    lines = text.splitlines()
    left_out = len(lines) - HEAD - TAIL
    return "\n".join([*lines[:HEAD], f"\x1b[2m… {left_out} lines …\x1b[0m", *lines[-TAIL:]])


def draw(name: str, text: str) -> None:
    """Write a picture of a terminal; it asks the network for nothing, fonts included."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    for line in text.rstrip().splitlines():
        console.print(Text.from_ansi(line), no_wrap=True, crop=True)
    svg = console.export_svg(title=f"llmcloud {name}", unique_id=f"llmcloud-{name}")
    svg = re.sub(r"@font-face\s*\{[^}]*\}\s*", "", svg).replace("Fira Code", FONTS)
    IMAGES.mkdir(exist_ok=True)
    (IMAGES / f"{name}.svg").write_text(BRAILLE.sub(dots, svg))


def dots(found: re.Match[str]) -> str:
    """Return braille as dots that look the same everywhere; few fonts have it."""
    style, left, baseline, text = found.groups()
    squares = [
        f"M{float(left) + (column + 0.22 + side / 2) * CELL[0]:.1f} "
        f"{float(baseline) - ASCENT + (row + 0.3) * CELL[1] / 4:.1f}h3.2v3.2h-3.2z"
        for column, character in enumerate(html.unescape(text))
        for row, bits in enumerate(curve.DOTS)
        for side, bit in enumerate(bits)
        if character > chr(curve.BLANK) and (ord(character) - curve.BLANK) & bit
    ]
    return f'<path class="{style}" d="{"".join(squares)}"/>'


if __name__ == "__main__":
    main()
