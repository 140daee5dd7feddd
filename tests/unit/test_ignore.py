"""What `walk` yields of a folder."""

import os
import socket
import tempfile
from pathlib import Path

import pytest

from llmcloud.core.home import Home
from llmcloud.core.ignore import walk
from llmcloud.runtime.errors import NotFound
from llmcloud.runtime.store import FileStore


def plant(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def names(root: Path, *exclude: str) -> list[str]:
    return [entry.name for entry in walk(root, exclude)]


def problems(root: Path) -> dict[str, str]:
    return {entry.name: entry.problem for entry in walk(root)}


def test_names_come_in_the_order_of_an_object_listing(tmp_path: Path) -> None:
    """So that a folder and a store can be merged in one pass."""
    plant(tmp_path, **{"a/b": "", "a.txt": "", "a0": "", "Z": "", "a/c/d": ""})
    found = names(tmp_path)
    assert found == sorted(found) == ["Z", "a.txt", "a/b", "a/c/d", "a0"]


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        ("*.log", {"a.py", "d/a.py", "d/e/k"}),
        ("*.log\n!d/x.log", {"a.py", "d/a.py", "d/e/k", "d/x.log"}),
        ("/a.py", {"d/a.py", "x.log", "d/x.log", "d/e/k"}),
        ("d/a.py", {"a.py", "x.log", "d/x.log", "d/e/k"}),
        ("d/\n!d/x.log", {"a.py", "x.log"}),
        ("d/*\n!d/e", {"a.py", "x.log", "d/e/k"}),
        ("d/**\n!d/x.log", {"a.py", "x.log", "d/x.log"}),
        ("d/**\n!d/e/", {"a.py", "x.log"}),
        ("[z-a]\n!\nd\\\n*.py", {"x.log", "d/x.log", "d/e/k"}),
        ("*\n!*/\n!*.py", {"a.py", "d/a.py"}),
        ("*/\n!d/", {"a.py", "x.log", "d/a.py", "d/x.log"}),
        ("*.log\n!d/", {"a.py", "d/a.py", "d/e/k"}),
        ("**/e", {"a.py", "x.log", "d/a.py", "d/x.log"}),
        ("d/**/k", {"a.py", "x.log", "d/a.py", "d/x.log"}),
        ("# a.py\n\n[ax].py\r\n", {"x.log", "d/x.log", "d/e/k"}),
        ("a.py/", {"a.py", "x.log", "d/a.py", "d/x.log", "d/e/k"}),
    ],
)
def test_ignore_files_mean_what_they_mean_to_git(
    tmp_path: Path, rules: str, kept: set[str]
) -> None:
    """Each case was checked against `git ls-files --others --exclude-standard`."""
    plant(tmp_path, **{"a.py": "", "x.log": "", "d/a.py": "", "d/x.log": "", "d/e/k": ""})
    (tmp_path / ".gitignore").write_bytes(rules.encode())
    assert set(names(tmp_path)) - {".gitignore"} == kept


def test_a_nested_ignore_file_is_anchored_to_its_folder_and_outranks_outer_ones(
    tmp_path: Path,
) -> None:
    """`/x` in d/.gitignore is d/x; `!keep.log` in it undoes the root's `*.log` there only."""
    plant(tmp_path, **{"x": "", "d/x": "", "d/e/x": "", "keep.log": "", "d/keep.log": ""})
    plant(tmp_path, **{".gitignore": "*.log\n", "d/.gitignore": "/x\n!keep.log\n"})
    assert set(names(tmp_path)) == {".gitignore", "d/.gitignore", "d/e/x", "d/keep.log", "x"}


def test_llmcloudignore_outranks_gitignore_and_exclude_outranks_both(tmp_path: Path) -> None:
    """The nearer to the job, the later the word."""
    plant(tmp_path, **{"a.bin": "", "b.bin": "", "c.bin": "", "n.ipynb": ""})
    plant(tmp_path, **{".gitignore": "*.bin\n", ".llmcloudignore": "!a.bin\n!b.bin\n"})
    kept = set(names(tmp_path, "b.bin", "!c.bin", "*.ipynb"))
    assert kept == {".gitignore", ".llmcloudignore", "a.bin", "c.bin"}


def test_dot_git_never_travels(tmp_path: Path) -> None:
    """Be it a folder, a worktree's file, at the top or nested, and whatever the rules say."""
    plant(tmp_path, **{".git/config": "", "sub/.git": "gitdir: …", "a": "", ".gitignore": "!.git"})
    assert names(tmp_path) == [".gitignore", "a"]


def test_an_ignored_folder_is_not_entered(tmp_path: Path) -> None:
    """A venv of 100,000 files costs one comparison, and what is odd in it isn't reported."""
    plant(tmp_path, **{"a": "", "venv/ok": "", ".gitignore": "venv/\n"})
    (tmp_path / "venv/broken").symlink_to("nowhere")
    assert names(tmp_path) == [".gitignore", "a"]


def test_links_stay_links_and_are_not_followed(tmp_path: Path) -> None:
    """A link to a folder is one entry, so that a loop ends."""
    plant(tmp_path, **{"d/f": ""})
    (tmp_path / "d/up").symlink_to("..")
    (tmp_path / "link").symlink_to("d/f")
    entries = {entry.name: entry for entry in walk(tmp_path)}
    assert list(entries) == ["d/f", "d/up", "link"]
    assert [entry.is_link for entry in entries.values()] == [False, True, True]
    assert not any(entry.problem for entry in entries.values())


def test_what_cannot_travel_is_yielded_with_its_reason(tmp_path: Path) -> None:
    """The caller reports it; nothing is dropped in silence."""
    outside, root = tmp_path / "outside", tmp_path / "root"
    plant(tmp_path, **{"outside": "", "root/ok": ""})
    os.mkfifo(root / "pipe")
    (root / "out").symlink_to("../outside")
    (root / "absolute").symlink_to(outside)
    (root / "broken").symlink_to("nowhere")
    (root / "loop").symlink_to("loop")
    with socket.socket(socket.AF_UNIX) as listener, tempfile.TemporaryDirectory() as short:
        listener.bind(f"{short}/s")
        Path(f"{short}/s").rename(root / "socket")
    assert problems(root) == {
        "absolute": "it is a link that leaves the folder",
        "broken": "it is a link to nothing",
        "loop": "it is a link to nothing",
        "ok": "",
        "out": "it is a link that leaves the folder",
        "pipe": "it is a named pipe",
        "socket": "it is a socket",
    }


def test_a_name_that_is_not_utf8_is_a_problem(tmp_path: Path) -> None:
    """No object can be named so."""
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")).write_text("")
    assert list(problems(tmp_path).values()) == ["its name is not UTF-8"]


def test_unreadable_files_and_folders_are_problems() -> None:
    """Also for root, who becomes nobody for the walk."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        plant(root, **{"secret": "", "locked/in": "", "plain": ""})
        (root / "secret").chmod(0)
        (root / "locked").chmod(0)
        former = os.geteuid()
        if former == 0:
            os.seteuid(65534)
        try:
            found = problems(root)
        finally:
            os.seteuid(former)
            (root / "locked").chmod(0o700)
    assert found == {
        "locked/": "it can't be read: Permission denied",
        "plain": "",
        "secret": "it can't be read",
    }


def test_a_folder_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    """Nor is a file one."""
    plant(tmp_path, file="")
    for path in (tmp_path / "absent", tmp_path / "file"):
        with pytest.raises(NotFound):
            next(walk(path))


def test_a_home_and_its_store_inside_of_the_folder_do_not_travel(tmp_path: Path) -> None:
    """Else each job's code would hold all the jobs before it."""
    home = Home(tmp_path / "home", tmp_path / "home/config.yaml")
    home.create()
    store = FileStore(tmp_path / "home/store")
    store.create()
    store.put("code/1", b"all that was before")
    plant(tmp_path, **{"a.py": "", "home/nodes/a-1/node-0/model": "", "home/venvs/x/bin": ""})
    assert names(tmp_path) == ["a.py"]
    assert names(store.root) != []
