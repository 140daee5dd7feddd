"""What a command prints, on its way to the log: whole lines for the metrics, and no secret."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llmcloud.runtime.capture import Capture
from llmcloud.runtime.records import decode

SECRET = "hf_abcdefghijklmnop"


class Kept:
    """A capture and what it has passed on."""

    def __init__(self, *secrets: str) -> None:
        self.data = b""
        self.lines: list[str] = []
        self.capture = Capture(self._write, self.lines.append, secrets)

    def _write(self, data: bytes) -> None:
        self.data += data

    @property
    def printed(self) -> bytes:
        records = [record for record, _ in decode(self.data)]
        return b"".join(each.text + b"\n" * each.ends_line for each in records)


def test_a_secret_is_hidden_in_lines_and_in_unfinished_pieces() -> None:
    kept = Kept(SECRET)
    kept.capture.feed("stdout", f"token={SECRET}\nand {SECRET}".encode())
    kept.capture.finish()
    assert kept.printed == b"token=***\nand ***"
    assert kept.lines == ["token=***"]


@given(st.lists(st.integers(1, 30), max_size=6), st.lists(st.booleans(), min_size=8, max_size=8))
def test_a_secret_is_hidden_however_it_is_cut(sizes: list[int], quiet: list[bool]) -> None:
    """Between two reads, at the end of a piece, and when the script pauses in the middle of it."""
    kept = Kept(SECRET)
    text = f"a {SECRET} b {SECRET}{SECRET}\r{SECRET}"
    for size, pauses in zip([*sizes, len(text)], quiet, strict=False):
        kept.capture.feed("stdout", text[:size].encode())
        text = text[size:]
        if pauses:
            kept.capture._last_at -= 10
            kept.capture.tick()
    kept.capture.finish()
    assert SECRET.encode() not in kept.printed
    assert kept.printed.count(b"***") == 4


def test_a_longer_secret_is_hidden_before_a_shorter_one_in_it() -> None:
    kept = Kept("abcdef", "abcdefgh")
    kept.capture.feed("stdout", b"abcdefgh abcdef\n")
    assert kept.printed == b"*** ***\n"


def test_each_line_of_a_secret_is_hidden_and_short_ones_are_not() -> None:
    """A key of several lines is printed line by line; three letters would blank out any text."""
    kept = Kept("-----BEGIN-----\nMIIEow\n-----END-----", "abc")
    kept.capture.feed("stderr", b"MIIEow\nabc\n")
    assert kept.printed == b"***\nabc\n"


def test_the_metrics_get_whole_lines_of_each_stream() -> None:
    kept = Kept()
    kept.capture.feed("stdout", b"loss=")
    kept.capture.feed("stderr", b"a warning\n")
    kept.capture.finish()
    kept.capture.feed("stdout", b"1.5\n")
    kept.capture.say("not of the training")
    assert kept.lines == ["a warning", "loss=1.5"]


def test_the_nodes_own_words_are_marked() -> None:
    kept = Kept()
    kept.capture.say("one\ntwo")
    assert [(each.stream, each.text) for each, _ in decode(kept.data)] == [
        ("system", b"one"),
        ("system", b"two"),
    ]
