"""Batches under a budget, and what becomes of them when the memory runs out."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unskew.runtime import free_bytes, in_batches, memory


@given(lengths=st.lists(st.integers(0, 40), max_size=30), budget=st.integers(1, 300), fits=st.integers(40, 300))
def test_every_row_is_worked_on_once_whatever_fits(lengths, budget, fits):
    def work(batch):
        if len(batch) * max(lengths[i] for i in batch) > fits:
            raise torch.OutOfMemoryError("full")
        return [2 * i for i in batch]

    done = [pair for batch, result in in_batches(lengths, budget, work) for pair in zip(batch, result, strict=True)]
    assert sorted(done) == [(i, 2 * i) for i in range(len(lengths))]


def test_the_smaller_budget_stays():
    sizes = []

    def work(batch):
        sizes.append(len(batch))
        if len(batch) > 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        return batch

    list(in_batches([10] * 16, 120, work))
    assert sizes == [12, 6, 3, 3, 3, 3, 3, 1]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("full"), MemoryError(), RuntimeError("shapes differ")])
def test_one_row_that_does_not_fit_raises(error):
    def work(batch):
        raise error

    with pytest.raises(type(error)):
        list(in_batches([10], 120, work))


def test_other_faults_are_not_taken_for_lack_of_memory():
    tried = []

    def work(batch):
        tried.append(batch)
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes"):
        list(in_batches([10] * 8, 120, work))
    assert len(tried) == 1


@pytest.mark.parametrize("version", [1, 2])
def test_free_memory_is_the_containers_limit_less_what_it_cannot_give_back(tmp_path, monkeypatch, version):
    """A job that has read a large input has filled its container with page cache, which is free on demand."""
    names = ("memory.max", "memory.current", "memory.stat", "")
    if version == 1:
        names = ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_")
        (tmp_path / "memory").mkdir()
    limit, used, statistics, start = names
    cpu = torch.device("cpu")
    monkeypatch.setattr(memory, "_LIMITS", tmp_path)
    free = free_bytes(cpu)
    assert free > 2**26
    (tmp_path / limit).write_text(f"{2**30}\n")
    (tmp_path / used).write_text(f"{2**30 - 2**20}\n")
    (tmp_path / statistics).write_text(f"anon 5\n{start}inactive_file {2**27}\n{start}active_file {2**28}\nshmem 9\n")
    assert free_bytes(cpu) == 2**20 + 2**27 + 2**28
    (tmp_path / statistics).write_text(f"{start}inactive_file 0\n{start}active_file 0\n")
    assert free_bytes(cpu) == 2**26
    (tmp_path / limit).write_text("9223372036854771712\n" if version == 1 else "max\n")
    assert free_bytes(cpu) > 2**26
