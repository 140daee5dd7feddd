"""Progress bars: tqdm's (and so Lightning's and HF Trainer's) and Keras's."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from llmcloud.runtime.metrics.metric import canonical
from llmcloud.runtime.metrics.words import NUMBER, number

TQDM = re.compile(
    r"^(?P<title>[^|%]{0,200}?)\s{0,8}\d{1,3}%\|[^|]{0,1000}\|\s{0,8}"
    r"(?P<done>\d{1,15})/(?P<total>\d{1,15})\s?\[(?P<rest>.*)"
)
KERAS = re.compile(r"^(?P<done>\d{1,12})/(?P<total>\d{1,12})\s(?P<rest>.* - .*)")
EPOCH_TITLE = re.compile(r"^epoch (?P<epoch>\d{1,9})(?:/\d{1,9})?:?$", re.IGNORECASE)
POSTFIX = re.compile(rf"(?<=, )([A-Za-z_][\w./-]{{0,80}})=({NUMBER})(?=[,\]])", re.IGNORECASE)
KERAS_PAIR = re.compile(rf"([a-z_]\w{{0,80}}): ({NUMBER})$", re.IGNORECASE)


@dataclass(frozen=True)
class Bar:
    """A progress bar as drawn once; `epoch` (from 0) where the bar starts anew in each."""

    done: int
    total: int
    title: str = ""
    epoch: int | None = None
    is_keras: bool = False
    values: dict[str, float] = field(default_factory=dict)


def read_bar(line: str) -> Bar | None:
    """Read a line without control codes; None when it is no bar."""
    if "%|" in line and (found := TQDM.match(line)) is not None:
        title = found["title"].strip()
        epoch = EPOCH_TITLE.match(title)
        values = _values(POSTFIX.findall(found["rest"]))
        values.pop("v_num", None)  # Lightning's number of the run
        place = int(epoch["epoch"]) if epoch else None
        return Bar(int(found["done"]), int(found["total"]), title, place, False, values)
    if " - " in line and (found := KERAS.match(line)) is not None:
        parts = (KERAS_PAIR.match(part.strip()) for part in found["rest"].split(" - "))
        values = _values([(part[1], part[2]) for part in parts if part])
        if values:
            return Bar(int(found["done"]), int(found["total"]), is_keras=True, values=values)
    return None


def _values(pairs: list[tuple[str, str]]) -> dict[str, float]:
    found = {canonical(name): number(text) for name, text in pairs}
    return {name: value for name, value in found.items() if value is not None}
