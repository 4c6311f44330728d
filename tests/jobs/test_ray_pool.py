"""Who is blamed when a worker of the Ray executor dies; Ray is a stand-in, so that no race decides what is tried."""

from types import SimpleNamespace

import pytest

from unskew.common import UserError
from unskew.jobs.predict_shard import Shard, ShardResult
from unskew.jobs.ray_executor import _Pool

DEADLY = 1


class ActorError(Exception):
    pass


class Answer:
    def __init__(self, worker, shard):
        self.worker, self.shard = worker, shard


class Worker:
    """Takes its shards in turn, and dies of the deadly one."""

    def __init__(self):
        self.taken = []
        self.answer = SimpleNamespace(remote=self._take)

    def _take(self, shard, asked, form):
        self.taken.append(shard.index)
        return Answer(self, shard)


class FakeRay:
    exceptions = SimpleNamespace(RayActorError=ActorError, RayTaskError=ZeroDivisionError)

    def wait(self, answers, num_returns):
        return [answers[-1]], []  # the worst case: what was handed out last is noticed first

    def get(self, answer):
        taken = answer.worker.taken
        if DEADLY in taken and taken.index(answer.shard.index) >= taken.index(DEADLY):
            raise ActorError("died")
        return ShardResult(answer.shard.index, 1, 0, None, b"", b"")

    def kill(self, worker):
        pass


@pytest.mark.parametrize("workers", [1, 2])
def test_only_the_shard_it_died_of_is_blamed(workers):
    pool = _Pool(FakeRay(), Worker, workers)
    result = []
    shards = pool.answers(iter(Shard(index, []) for index in range(6)), {}, "jsonl")
    with pytest.raises(UserError, match=f"shard {DEADLY} ended 3 workers"):
        result.extend(shard.index for shard in shards)
    assert set(pool.deaths) == {DEADLY}
    assert len(set(result)) == len(result)
    assert DEADLY not in result
