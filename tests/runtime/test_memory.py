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


def test_free_memory_is_within_the_containers_limit(tmp_path, monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(memory, "_LIMITS", tmp_path)
    free = free_bytes(cpu)
    assert free > 2**20
    (tmp_path / "memory.current").write_text("3000000\n")
    (tmp_path / "memory.max").write_text("4000000\n")
    assert free_bytes(cpu) == 1_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes(cpu) > 2**20
