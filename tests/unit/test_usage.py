"""How busy a node is."""

import json
import os
import stat
from pathlib import Path

import pytest

from llmcloud.runtime import usage
from llmcloud.runtime.usage import Gpu, Process, Sampler, Usage, gpus

MEMINFO = """\
MemTotal:       24689596 kB
MemFree:        16385108 kB
MemAvailable:   23413240 kB
Buffers:           91944 kB
HugePages_Total:       0
Hugepagesize:       2048 kB
"""
STAT = """\
cpu  10132153 290696 3084719 46828483 16683 0 25195 100 7 0
cpu0 1393280 32966 572056 13343292 6130 0 17875 0 23933 0
intr 199292 0
"""
NVIDIA = """\
1, NVIDIA A100-SXM4-80GB, 81920, 40536, 97
0, NVIDIA A100-SXM4-80GB, 81920, 3, 0
"""


def process_stat(pid: int, parent: int, ticks: int, pages: int, name: str = "python") -> str:
    return (
        f"{pid} ({name}) S {parent} {pid} {pid} 0 -1 4194304 100 0 0 0 {ticks} 1 0 0 20 0 1 0 "
        f"100 1000000 {pages} 18446744073709551615 0 0"
    )


def write_process(proc: Path, pid: int, *, text: str) -> None:
    (proc / str(pid)).mkdir(exist_ok=True)
    (proc / str(pid) / "stat").write_text(text)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    folder = tmp_path / "proc"
    folder.mkdir()
    (folder / "meminfo").write_text(MEMINFO)
    (folder / "stat").write_text(STAT)
    return folder


def test_memory_in_use_is_what_is_not_available() -> None:
    """Caches can be had back, so MemFree would say too much."""
    assert usage.parse_meminfo(MEMINFO) == ((24689596 - 23413240) * 1024, 24689596 * 1024)


@pytest.mark.parametrize("text", ["", "MemTotal: many kB", "\0\0", "MemTotal: 1 kB"])
def test_memory_that_is_not_told_is_unknown(text: str) -> None:
    assert usage.parse_meminfo(text) == (None, None)


def test_busy_ticks_leave_out_idle_and_waiting_and_count_guests_once() -> None:
    busy = 10132153 + 290696 + 3084719 + 25195 + 100
    assert usage.parse_cpu(STAT) == (busy, busy + 46828483 + 16683)


@pytest.mark.parametrize("text", ["", "cpu", "cpu a b c d e f", "intr 1 2 3 4 5 6 7"])
def test_ticks_that_are_not_told_are_unknown(text: str) -> None:
    assert usage.parse_cpu(text) is None


def test_a_process_may_have_any_name() -> None:
    """A name with brackets and spaces must not shift the fields."""
    text = process_stat(7, 3, 41, 12, name="a) R 1 (b")
    assert usage.parse_process(text) == Process(7, 3, 42, 12)


@pytest.mark.parametrize("text", ["", "7 (cut", "7 (cut) S 1", "x (a) " + "1 " * 30])
def test_a_process_that_just_ended_is_passed_over(text: str) -> None:
    assert usage.parse_process(text) is None


def test_a_tree_holds_the_descendants_and_nobody_else() -> None:
    processes = [Process(pid, parent, 0, 0) for pid, parent in [(9, 5), (5, 2), (2, 1), (3, 1)]]
    assert {each.pid for each in usage.tree(processes, 2)} == {2, 5, 9}


def test_a_limit_of_max_is_none() -> None:
    assert usage.parse_limit("max\n") is None
    assert usage.parse_limit("1073741824\n") == 1 << 30


def test_gpus_come_in_the_order_of_their_indexes() -> None:
    first, second = usage.parse_gpus(NVIDIA)
    assert first == Gpu(0, "NVIDIA A100-SXM4-80GB", 81920 << 20, 3 << 20, 0.0)
    assert (second.index, second.utilization_percent) == (1, 97.0)


def test_a_gpu_that_does_not_tell_its_use_is_still_a_gpu() -> None:
    """MIG devices and old cards answer [N/A]."""
    (gpu,) = usage.parse_gpus("0, Tesla K80, 11441, [N/A], [Not Supported]\n")
    assert gpu == Gpu(0, "Tesla K80", 11441 << 20, None, None)


@pytest.mark.parametrize(
    "text", ["", "No devices were found\n", "NVIDIA-SMI has failed, a, b, c, d"]
)
def test_words_instead_of_a_table_are_no_gpus(text: str) -> None:
    assert usage.parse_gpus(text) == []


def script(folder: Path, body: str) -> str:
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_gpus_are_asked_of_the_driver(tmp_path: Path) -> None:
    """The fields are asked for in the order in which they are read."""
    asked = tmp_path / "asked"
    smi = script(tmp_path, f'echo "$*" > {asked}; echo "0, L4, 23034, 1, 5"')
    assert [gpu.name for gpu in gpus(smi)] == ["L4"]
    assert asked.read_text() == (
        "--query-gpu=index,name,memory.total,memory.used,utilization.gpu "
        "--format=csv,noheader,nounits\n"
    )


def test_a_driver_that_fails_means_no_gpus(tmp_path: Path) -> None:
    assert gpus(script(tmp_path, "echo '0, L4, 23034, 1, 5'; exit 9")) == []
    assert gpus(str(tmp_path / "absent")) == []


def test_cpu_use_is_that_since_the_last_sample(proc: Path, tmp_path: Path) -> None:
    """The first sample has nothing to compare with."""
    sampler = Sampler(tmp_path, proc=proc)
    assert sampler.sample().cpu_percent is None
    (proc / "stat").write_text("cpu  10132228 290696 3084719 46828508 16683 0 25195 100 7 0\n")
    assert sampler.sample().cpu_percent == 75.0


def test_the_job_s_use_is_that_of_its_whole_process_tree(proc: Path, tmp_path: Path) -> None:
    """Children that came since the last sample count; strangers do not."""
    now = iter([10.0, 12.0])
    sampler = Sampler(tmp_path, 50, proc=proc, clock=lambda: next(now))
    ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    write_process(proc, 50, text=process_stat(50, 1, 1000, 10))
    write_process(proc, 60, text=process_stat(60, 1, 5000, 1000))
    assert sampler.sample().job_memory_bytes == 10 * page
    write_process(proc, 50, text=process_stat(50, 1, 1000 + ticks, 10))
    write_process(proc, 51, text=process_stat(51, 50, 2 * ticks - 1, 30))
    found = sampler.sample()
    assert (found.job_cpu_percent, found.job_memory_bytes) == (150.0, 40 * page)


def test_a_system_without_proc_tells_nothing_and_fails_nothing(tmp_path: Path) -> None:
    found = Sampler(tmp_path / "absent", proc=tmp_path / "absent").sample()
    assert (found.cpu_percent, found.memory_total_bytes, found.job_cpu_percent) == (None,) * 3
    assert found.disk_free_bytes is None


def test_this_very_machine_can_be_sampled(tmp_path: Path) -> None:
    found = Sampler(tmp_path).sample()
    assert found.disk_free_bytes
    if Path("/proc/meminfo").exists():
        assert found.memory_total_bytes
        assert found.job_memory_bytes


def test_a_sample_comes_back_from_its_document() -> None:
    sample = Usage(12.5, 1, 2, None, 3, 4, (Gpu(0, "NVIDIA L4", 5, 6, 7.5), Gpu(1, "x", 5)))
    assert Usage.from_document(json.loads(json.dumps(sample.to_document()))) == sample


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"gpus": 7},
        {"gpus": [None, {}, {"index": 0}, {"index": 0, "memory_total_bytes": "much"}]},
        {"cpu_percent": float("nan")},
        {"cpu_percent": "half", "memory_used_bytes": None, "of_a_newer_version": 1},
    ],
)
def test_what_a_damaged_sample_says_is_not_known(document: dict[str, object]) -> None:
    assert Usage.from_document(document) == Usage()
