"""What a folder does as a store, beyond what every store does."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmcloud.runtime.errors import Conflict, InvalidRequest, NotFound, StoreGone
from llmcloud.runtime.store import FileStore, open_store

NOBODY = 65534


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> FileStore:
    store = FileStore(tmp_path / "store")
    store.create()
    return store


def run(script: str, *arguments: str | Path, before: tuple[str, ...] = ()) -> None:
    """Run a script in another process; it fails the test by an exception."""
    command = [*before, sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def private_mounts() -> tuple[str, ...]:
    """Return the command that runs another where it may mount, seen by nobody else."""
    command = ("unshare", "-m") if os.geteuid() == 0 else ("unshare", "-Urm")
    try:
        allowed = subprocess.run([*command, "true"], capture_output=True, check=False).returncode
    except FileNotFoundError:
        allowed = 127
    if allowed != 0:
        pytest.skip("this machine lets nobody mount a small disk (unshare)")
    return command


class TestTheFolder:
    def test_is_its_owners_alone(self, tmp_path: Path) -> None:
        """…whatever the umask, and so is all that lies in it."""
        before = os.umask(0)
        try:
            store = FileStore(tmp_path / "home" / "store")
            store.create()
            store.put("top", b"x")
            store.put("a/b/c", b"x", if_absent=True)
            store.put_file("a/d/e", Path(__file__))
        finally:
            os.umask(before)
        for path in [store.root, *store.root.rglob("*")]:
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode == (0o700 if path.is_dir() else 0o600), path

    def test_that_a_user_has_opened_to_others_stays_so(self, store: FileStore) -> None:
        """…but not what is put there."""
        store.root.chmod(0o755)
        store.create()
        store.put("a/b", b"x")
        assert stat.S_IMODE(store.root.stat().st_mode) == 0o755
        assert stat.S_IMODE((store.root / "a").stat().st_mode) == 0o700

    def test_is_refused_where_a_file_is_in_the_way(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        for root in (tmp_path / "file", tmp_path / "file" / "store"):
            with pytest.raises(InvalidRequest):
                FileStore(root).create()

    def test_may_hold_what_is_no_object(self, store: FileStore, tmp_path: Path) -> None:
        """…links, pipes and empty folders are not listed and not followed."""
        store.put("a/b", b"x")
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "secret").write_text("")
        (store.root / "a" / "link").symlink_to(tmp_path / "elsewhere")
        (store.root / "a" / "loop").symlink_to(store.root)
        (store.root / "a" / "broken").symlink_to("nowhere")
        (store.root / "a" / "empty" / "emptier").mkdir(parents=True)
        os.mkfifo(store.root / "a" / "pipe")
        assert [entry.key for entry in store.objects()] == ["a/b"]
        assert store.folders("a/") == []
        with pytest.raises(NotFound):
            store.head("a/pipe")

    def test_is_no_store_before_it_is_created(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("somebody's own file")
        with pytest.raises(StoreGone):
            list(FileStore(tmp_path).objects())


class TestAnObject:
    def test_cannot_lie_under_another(self, store: FileStore) -> None:
        store.put("a/b", b"x")
        for key in ("a", "a/b/c", "a/b/c/d"):
            for condition in (False, True):
                with pytest.raises(InvalidRequest):
                    store.put(key, b"y", if_absent=condition)
            with pytest.raises(InvalidRequest):
                store.put_file(key, Path(__file__))
        assert [entry.key for entry in store.objects()] == ["a/b"]

    def test_is_read_as_one_version(self, store: FileStore, tmp_path: Path) -> None:
        """…although it is replaced while it is copied to a slow reader."""
        store.put("a", b"old" * 1_000_000)
        os.mkfifo(tmp_path / "pipe")
        copier = threading.Thread(target=lambda: store.get_file("a", tmp_path / "pipe"))
        copier.start()
        with (tmp_path / "pipe").open("rb") as pipe:
            start = pipe.read(10)
            store.put("a", b"new" * 1_000_000)
            assert start + pipe.read() == b"old" * 1_000_000
        copier.join(30)

    def test_half_written_by_a_killed_process_is_swept_later(self, store: FileStore) -> None:
        """…by whoever creates the store a day after, not before."""
        folder = store.root / ".llmcloud" / "tmp"
        (folder / "fresh").write_text("")
        (folder / "stale").write_text("")
        long_ago = time.time() - 2 * 86_400
        os.utime(folder / "stale", (long_ago, long_ago))
        store.create()
        assert [each.name for each in folder.iterdir()] == ["fresh"]

    def test_leaves_nothing_half_written_behind(self, store: FileStore) -> None:
        """…whether its write came through or not."""
        store.put("a", b"x")
        store.put_file("b", Path(__file__))
        for key in ("a", "a/b"):
            with pytest.raises((Conflict, InvalidRequest)):
                store.put(key, b"x", if_absent=True)
        store.delete("a")
        assert list((store.root / ".llmcloud" / "tmp").iterdir()) == []

    def test_is_locked_by_no_child_forked_meanwhile(self, store: FileStore) -> None:
        """…that lives on with a copy of the open lock file."""
        with store._locked("a"):
            names = {int(each.name) for each in Path("/proc/self/fd").iterdir()}
            inherited = [each for each in names if is_a_lock(each)]
            child = subprocess.Popen(["sleep", "60"], pass_fds=inherited)
        try:
            assert inherited
            store.put("a", b"x", if_absent=True)
        finally:
            child.kill()
            child.wait(30)


def is_a_lock(descriptor: int) -> bool:
    try:
        return "/locks/" in str(Path(f"/proc/self/fd/{descriptor}").readlink())
    except FileNotFoundError:
        return False


class TestAUrl:
    @given(name=st.text(st.characters(exclude_characters="\0/", codec="utf-8"), min_size=1))
    def test_finds_the_folder_it_was_made_from(self, name: str) -> None:
        store = FileStore(Path("/somewhere", name))
        again = open_store(store.url)
        assert isinstance(again, FileStore)
        assert again.root == store.root

    def test_can_name_a_folder_that_is_not_unicode(self) -> None:
        store = FileStore(Path(os.fsdecode(b"/a/\xff")))
        assert isinstance(again := open_store(store.url), FileStore)
        assert again.root == store.root

    @pytest.mark.parametrize(
        "url",
        [
            *(
                "ftp://bucket",
                "s3://",
                "az://account",
                "/a/folder",
                "",
                "file:relative",
                "file://",
                "file://host/a",
                "file",
            ),
            *("file://[", "file:///a?b", "file:///a#b", "file:///%00", "http://localhost/a"),
        ],
    )
    def test_of_another_kind_is_refused(self, url: str) -> None:
        with pytest.raises(InvalidRequest):
            open_store(url)


def test_a_full_disk_is_called_so_and_loses_nothing(tmp_path: Path) -> None:
    """…no half object appears, deleting still works, and then there is room again."""
    script = """
        import subprocess, sys
        from pathlib import Path
        from llmcloud.runtime import status
        from llmcloud.runtime.errors import NotFound, StoreFull
        from llmcloud.runtime.store import FileStore

        disk, source = Path(sys.argv[1]), Path(sys.argv[2])
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", disk], check=True)
        store = FileStore(disk / "store")
        store.create()

        def refused(write, key):
            try:
                write(key)
            except StoreFull as failure:
                assert failure.fix and "No space" in failure.what
                return True
            return False

        store.put("kept", b"old")
        etag = store.get("kept").etag
        source.write_bytes(bytes(1_000_000))
        assert refused(lambda key: store.put_file(key, source), "large")
        number = 0
        while not refused(lambda key: store.put(key, bytes(10_000)), f"fill/{number:03d}"):
            number += 1
        assert refused(lambda key: store.put(key, bytes(10_000), if_absent=True), "late")
        assert refused(lambda key: store.put(key, bytes(10_000), if_match=etag), "kept")

        assert store.get("kept").data == b"old"
        assert not store.exists("large") and not store.exists("late")
        sizes = {entry.size for entry in store.objects("fill/")}
        assert sizes == {10_000}, sizes
        assert list((disk / "store/.llmcloud/tmp").iterdir()) == []
        store.delete("fill/000")
        store.delete("fill/001")
        store.put("late", bytes(10_000), if_absent=True)
        store.create()
    """
    (tmp_path / "disk").mkdir()
    run(script, tmp_path / "disk", tmp_path / "source", before=private_mounts())


def test_a_disk_without_room_for_names_is_called_full(tmp_path: Path) -> None:
    script = """
        import subprocess, sys
        from pathlib import Path
        from llmcloud.runtime.errors import StoreFull
        from llmcloud.runtime.store import FileStore

        disk = Path(sys.argv[1])
        subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=40", "none", disk], check=True)
        store = FileStore(disk)
        store.create()
        try:
            for number in range(100):
                store.put(f"a/{number}", b"")
        except StoreFull:
            store.delete("a/0")
            store.put("a/x", b"")
        else:
            raise AssertionError("it was never full")
    """
    (tmp_path / "disk").mkdir()
    run(script, tmp_path / "disk", before=private_mounts())


def test_a_read_only_disk_is_a_matter_of_permission(tmp_path: Path) -> None:
    """…and can still be read."""
    script = """
        import subprocess, sys
        from pathlib import Path
        from llmcloud.runtime.errors import PermissionDenied
        from llmcloud.runtime.store import FileStore

        disk = Path(sys.argv[1])
        subprocess.run(["mount", "-t", "tmpfs", "none", disk], check=True)
        store = FileStore(disk)
        store.create()
        store.put("a", b"x")
        subprocess.run(["mount", "-o", "bind,remount,ro", disk], check=True)
        assert store.get("a").data == b"x" and [e.key for e in store.objects()] == ["a"]
        for write in (lambda: store.put("b", b""), lambda: store.delete("a")):
            try:
                write()
            except PermissionDenied:
                continue
            raise AssertionError("it was written to")
    """
    (tmp_path / "disk").mkdir()
    run(script, tmp_path / "disk", before=private_mounts())


def test_a_folder_of_somebody_else_is_a_matter_of_permission(tmp_path: Path) -> None:
    """…for every method, whichever part of it is closed to us."""
    script = """
        import os, shutil, sys, tempfile
        from pathlib import Path
        from llmcloud.runtime.errors import PermissionDenied
        from llmcloud.runtime.store import FileStore

        parent = Path(tempfile.mkdtemp())  # not pytest's own, where only root may go
        if os.geteuid() == 0:
            os.chown(parent, int(sys.argv[1]), -1)
            os.setgroups([])
            os.setgid(int(sys.argv[1]))
            os.setuid(int(sys.argv[1]))
        store = FileStore(parent / "store")
        store.create()
        etag = store.put("a/b", b"x")
        source = Path(tempfile.mkdtemp()) / "source"
        source.touch()
        reads = [
            lambda: store.get("a/b"), lambda: store.read("a/b", 0, 1), lambda: store.head("a/b"),
            lambda: list(store.objects()), lambda: store.folders("a/"), lambda: store.exists("a/b"),
            lambda: store.get_file("a/b", parent / "down"),
        ]
        writes = [
            lambda: store.put("a/c", b""), lambda: store.put("a/c", b"", if_absent=True),
            lambda: store.put("a/b", b"", if_match=etag), lambda: store.put_file("a/c", source),
            lambda: store.delete("a/b"),
        ]

        def refused(act):
            try:
                act()
            except PermissionDenied:
                return True
            return False

        def closed(folder, mode, acts):
            folder.chmod(mode)
            try:
                assert all([refused(act) for act in acts]), (folder, [refused(a) for a in acts])
            finally:
                folder.chmod(0o700)

        closed(store.root, 0o000, [*reads, *writes, store.create])
        closed(store.root / "a", 0o000, [*reads, *writes])
        closed(store.root / "a", 0o500, writes)
        closed(parent, 0o000, [*reads, *writes, store.create])
        closed(parent, 0o500, [FileStore(parent / "other").create])
        assert store.get("a/b").data == b"x"
        shutil.rmtree(parent)
        shutil.rmtree(source.parent)
    """
    run(script, NOBODY)
