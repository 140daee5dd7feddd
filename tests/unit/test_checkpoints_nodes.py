"""How several nodes put one checkpoint together."""

from __future__ import annotations

import itertools
import shutil
from typing import TYPE_CHECKING

import pytest
from tests.rig.checkpoints import (
    JOB,
    Clock,
    DyingStore,
    Killed,
    Rig,
    complete_steps,
    contents,
    zipped,
)

from llmcloud.runtime import layout
from llmcloud.runtime.checkpoints import manifest as manifests
from llmcloud.runtime.checkpoints import restore
from llmcloud.runtime.store import FileStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Cluster:
    """Nodes over one store and one clock, which hear each other's announcements at once."""

    def __init__(
        self,
        root: Path,
        store: FileStore | None = None,
        attempt: int = 1,
        current_step: Callable[[], int | None] = lambda: None,
    ) -> None:
        self.store = store or FileStore(root / "store")
        self.clock = Clock()
        self.nodes: list[Rig] = []
        self.gone: set[int] = set()
        for rank in range(2):
            rig = Rig(
                root / f"node{rank}",
                store=self.store,
                clock=self.clock,
                rank=rank,
                nodes=2,
                attempt=attempt,
                peers_announced=lambda: self.announced(),
                peers_gone=lambda: self.gone,
                current_step=current_step if rank == 0 else lambda: None,
            )
            self.nodes.append(rig)
        self.poll(1)

    def announced(self) -> dict[int, list[int]]:
        return {rank: node.shipper.announced() for rank, node in enumerate(self.nodes)}

    def poll(self, rounds: int = 4) -> list[int]:
        done = []
        for _ in range(rounds):
            self.clock.now += 1
            for node in self.nodes:
                done += node.shipper.poll()
        return done

    def write(self, name: str, *values: int | None) -> None:
        """Write a file on each node whose value isn't None."""
        for node, value in zip(self.nodes, values, strict=True):
            if value is not None:
                node.write(name, zipped(value))


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def fresh(store: FileStore, folder: Path, rank: int = 0) -> dict[str, bytes]:
    restore(store, JOB, folder, rank=rank)
    return contents(folder)


def test_shards_of_two_nodes_are_one_checkpoint(cluster: Cluster, tmp_path: Path) -> None:
    """Complete when both have shipped, and whole on every node that restores it."""
    cluster.write("checkpoint-5/shard-0.pt", 1, None)
    cluster.write("checkpoint-5/shard-1.pt", None, 2)
    assert cluster.poll(8) == [5]
    both = {"checkpoint-5/shard-0.pt": zipped(1), "checkpoint-5/shard-1.pt": zipped(2)}
    assert fresh(cluster.store, tmp_path / "a") == fresh(cluster.store, tmp_path / "b", 1) == both


def test_it_is_not_complete_before_the_slower_node_has_shipped(cluster: Cluster) -> None:
    """Who announced a step is waited for, even while its file is torn."""
    cluster.write("checkpoint-5/shard-0.pt", 1, None)
    slow = cluster.nodes[1].write("checkpoint-5/shard-1.pt", zipped(2)[:-10])
    cluster.poll(2)
    assert cluster.poll(10) == []
    slow.write_bytes(zipped(2))
    assert cluster.poll(8) == [5]


def test_announcements_may_come_as_late_as_a_heartbeat(cluster: Cluster) -> None:
    """They are never missed; or a checkpoint would be called complete without its shards."""
    past: list[tuple[float, dict[int, list[int]]]] = []
    current = cluster.announced

    def late() -> dict[int, list[int]]:
        past.append((cluster.clock.now, current()))
        return next((said for at, said in reversed(past) if at <= cluster.clock.now - 6), {})

    cluster.announced = late  # type: ignore[method-assign]
    cluster.write("checkpoint-5/shard-0.pt", 1, None)
    slow = cluster.nodes[1].write("checkpoint-5/shard-1.pt", zipped(2)[:-10])
    assert cluster.poll(30) == []
    slow.write_bytes(zipped(2))
    assert cluster.poll(10) == [5]


def test_a_checkpoint_of_the_first_node_alone_is_complete_soon(cluster: Cluster) -> None:
    """As with plain data parallelism, where rank 0 saves."""
    cluster.write("ckpt.pt", 1, None)
    assert cluster.poll(20) == [1]


def test_a_checkpoint_of_another_node_alone_is_complete_too(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Whoever saves."""
    cluster.write("checkpoint-5/model.pt", None, 7)
    assert cluster.poll(12) == [5]
    assert fresh(cluster.store, tmp_path / "a") == {"checkpoint-5/model.pt": zipped(7)}


def test_equal_files_are_kept_once_and_of_differing_ones_each_node_gets_its_own(
    cluster: Cluster, tmp_path: Path
) -> None:
    """The lowest rank's has the name."""
    cluster.write("checkpoint-5/model.pt", 1, 1)
    cluster.write("checkpoint-5/rng_state.pt", 2, 3)
    assert cluster.poll(8) == [5]
    names = [file.name for file in manifests.read(cluster.store, JOB, 5).files]
    assert names == [
        "checkpoint-5/model.pt",
        "checkpoint-5/rng_state.pt",
        "node-00001/checkpoint-5/rng_state.pt",
    ]
    for rank, value in ((0, 2), (1, 3)):
        assert fresh(cluster.store, tmp_path / str(rank), rank) == {
            "checkpoint-5/model.pt": zipped(1),
            "checkpoint-5/rng_state.pt": zipped(value),
        }


def test_files_overwritten_in_place_share_the_step_of_node_0(tmp_path: Path) -> None:
    """Only it knows how far the training is."""
    cluster = Cluster(tmp_path, current_step=lambda: 300)
    cluster.write("shard-a.pt", 1, None)
    cluster.write("shard-b.pt", None, 2)
    assert cluster.poll(20) == [300]
    assert set(fresh(cluster.store, tmp_path / "a")) == {"shard-a.pt", "shard-b.pt"}


def test_a_part_of_a_former_attempt_is_not_merged(tmp_path: Path) -> None:
    """It may be of other weights."""
    first = Cluster(tmp_path / "1")
    first.write("checkpoint-5/a.pt", 1, None)
    first.write("checkpoint-5/b.pt", None, 1)
    first.nodes[0].clock.now += 1
    for _ in range(4):
        first.clock.now += 1
        first.nodes[0].shipper.poll()
    first.nodes[1].shipper.poll()
    first.clock.now += 3
    first.nodes[1].shipper.poll()
    assert first.store.exists(layout.checkpoint_part(JOB, 5, 1))
    assert complete_steps(first.store) == []
    second = Cluster(tmp_path / "2", store=first.store, attempt=2)
    second.write("checkpoint-5/a.pt", 2, None)
    assert second.poll(20) == [5]
    assert fresh(second.store, tmp_path / "a") == {"checkpoint-5/a.pt": zipped(2)}


def test_a_part_that_comes_late_is_merged_in(cluster: Cluster, tmp_path: Path) -> None:
    """A node that saw its files after COMPLETE was written still adds them."""
    cluster.write("checkpoint-5/a.pt", 1, None)
    assert cluster.poll(20) == [5]
    cluster.write("checkpoint-5/b.pt", None, 2)
    assert cluster.poll(8) == [5]
    assert len(fresh(cluster.store, tmp_path / "a")) == 2


def test_a_node_that_never_adds_its_part_does_not_block_for_ever(cluster: Cluster) -> None:
    """After a while the next step is tried instead."""
    cluster.write("checkpoint-5/a.pt", 1, None)
    cluster.nodes[1].write("checkpoint-5/b.pt", b"torn for ever")
    cluster.nodes[1].write("checkpoint-5/b.safetensors", b"torn for ever")
    cluster.poll(5)
    cluster.write("checkpoint-6/a.pt", 2, None)
    cluster.write("checkpoint-6/b.pt", None, 2)
    assert cluster.poll(80) == [6]


def test_a_flush_of_both_nodes_completes_the_newest(tmp_path: Path) -> None:
    """Without the quiet period; each waits for the other within its deadline."""
    cluster = Cluster(tmp_path)
    cluster.write("checkpoint-5/a.pt", 1, None)
    cluster.write("checkpoint-5/b.pt", None, 2)
    peer = cluster.nodes[1].shipper
    flushed = []

    def let_the_peer_work(seconds: float) -> None:
        cluster.clock.now += seconds
        if not flushed:
            flushed.append(True)
            peer.sleep = cluster.clock.sleep
            peer.flush(0.5)

    cluster.nodes[0].shipper.sleep = let_the_peer_work
    assert cluster.nodes[0].shipper.flush(30) == [5]
    assert len(fresh(cluster.store, tmp_path / "a")) == 2


def test_a_flush_does_not_wait_for_nodes_that_are_through(tmp_path: Path) -> None:
    """They say so when their own flush has nothing to add."""
    cluster = Cluster(tmp_path)
    cluster.write("checkpoint-5/a.pt", 1, None)
    assert cluster.nodes[1].shipper.flush(30) == []
    before = cluster.clock.now
    assert cluster.nodes[0].shipper.flush(30) == [5]
    assert cluster.clock.now == before


def test_a_flush_does_not_call_complete_what_a_node_did_not_ship(tmp_path: Path) -> None:
    """The deadline passes; the checkpoint before stands."""
    cluster = Cluster(tmp_path)
    cluster.write("checkpoint-5/a.pt", 1, None)
    assert cluster.poll(20) == [5]
    cluster.write("checkpoint-6/a.pt", 2, None)
    cluster.write("checkpoint-6/b.pt", None, 2)
    assert cluster.nodes[0].shipper.flush(30) == []
    assert complete_steps(cluster.store) == [5]
    assert any("too short" in warning for warning in cluster.nodes[0].warnings)


def test_a_flush_does_not_wait_for_a_node_that_is_lost(tmp_path: Path) -> None:
    """It never had files: what the first node saved is whole at once."""
    cluster = Cluster(tmp_path)
    cluster.write("checkpoint-5/a.pt", 1, None)
    cluster.gone = {1}
    before = cluster.clock.now
    assert cluster.nodes[0].shipper.flush(30) == [5]
    assert cluster.clock.now == before


def test_a_step_that_a_lost_node_announced_is_neither_waited_for_nor_complete(
    tmp_path: Path,
) -> None:
    """Its shard is gone; the checkpoint before stands, and the log says why."""
    cluster = Cluster(tmp_path)
    cluster.write("checkpoint-5/a.pt", 1, None)
    assert cluster.poll(20) == [5]
    cluster.write("checkpoint-6/a.pt", 2, None)
    cluster.write("checkpoint-6/b.pt", None, 2)
    cluster.gone = {1}
    before = cluster.clock.now
    assert cluster.nodes[0].shipper.flush(30) == []
    assert cluster.clock.now == before
    assert complete_steps(cluster.store) == [5]
    lacking = "Checkpoint 6 is not whole: node 1 was gone before it had added its files."
    assert cluster.nodes[0].warnings == [lacking]


def test_a_lost_node_that_has_saved_before_may_have_had_files_of_the_last_step_too(
    tmp_path: Path,
) -> None:
    """It died between writing them and its next heartbeat."""
    cluster = Cluster(tmp_path)
    cluster.write("checkpoint-5/a.pt", 1, None)
    cluster.write("checkpoint-5/b.pt", None, 1)
    assert cluster.poll(8) == [5]
    cluster.write("checkpoint-6/a.pt", 2, None)
    cluster.gone = {1}
    assert cluster.nodes[0].shipper.flush(30) == []
    assert complete_steps(cluster.store) == [5]


def test_the_part_of_a_node_that_ended_well_is_merged(tmp_path: Path) -> None:
    """It was through before the first node; nor need it have files of every step."""
    cluster = Cluster(tmp_path)
    peer = cluster.nodes[1].shipper
    cluster.write("checkpoint-5/a.pt", 1, None)
    cluster.write("checkpoint-5/b.pt", None, 2)
    peer.flush(0.5)
    cluster.gone = {1}
    assert cluster.nodes[0].shipper.flush(30) == [5]
    assert len(fresh(cluster.store, tmp_path / "a")) == 2
    cluster.write("checkpoint-6/a.pt", 3, None)
    assert cluster.nodes[0].shipper.flush(30) == [6]


def test_a_node_does_not_wait_for_the_first_when_that_is_gone(tmp_path: Path) -> None:
    """Nobody else writes COMPLETE."""
    cluster = Cluster(tmp_path)
    cluster.write("checkpoint-5/b.pt", None, 2)
    cluster.gone = {0}
    before = cluster.clock.now
    assert cluster.nodes[1].shipper.flush(30) == []
    assert cluster.clock.now == before
    assert cluster.store.exists(layout.checkpoint_part(JOB, 5, 1))


@pytest.mark.parametrize("victim", [0, 1])
def test_a_node_killed_at_any_operation_leaves_no_mixture(tmp_path: Path, victim: int) -> None:
    """Either the checkpoint before, or the new one with the shards of both."""
    outcomes = []
    for at in itertools.count(1):
        root = tmp_path / str(at)
        store = DyingStore(root / "store")
        cluster = Cluster(root, store=store)
        cluster.write("checkpoint-5/a.pt", 1, None)
        cluster.write("checkpoint-5/b.pt", None, 1)
        assert cluster.poll(8) == [5]
        cluster.write("checkpoint-6/a.pt", 2, None)
        cluster.write("checkpoint-6/b.pt", None, 2)
        is_dead = _poll_until_killed(cluster, victim, at)
        found = fresh(store, root / "fresh")
        assert found in (
            {"checkpoint-5/a.pt": zipped(1), "checkpoint-5/b.pt": zipped(1)},
            {"checkpoint-6/a.pt": zipped(2), "checkpoint-6/b.pt": zipped(2)},
        )
        outcomes.append(min(found))
        shutil.rmtree(root)
        if not is_dead:
            break
    assert set(outcomes) == {"checkpoint-5/a.pt", "checkpoint-6/a.pt"}


def _poll_until_killed(cluster: Cluster, victim: int, at: int) -> bool:
    store = cluster.store
    assert isinstance(store, DyingStore)
    left, dead = at, False
    for _ in range(8):
        cluster.clock.now += 1
        for rank, node in enumerate(cluster.nodes):
            if rank == victim and dead:
                continue
            before = store.operations
            store.dies_at = before + left if rank == victim else -1
            try:
                node.shipper.poll()
            except Killed:
                dead = True
            if rank == victim:
                left -= store.operations - before
    store.dies_at = -1
    return dead
