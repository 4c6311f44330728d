"""Who is blamed when a worker of the Ray executor dies; Ray is a stand-in, so that no race decides what is tried."""

from types import SimpleNamespace

import pytest

from unskew.common import UserError
from unskew.jobs.predict_shard import Shard, ShardResult
from unskew.jobs.ray_executor import MOST_LOST, _Pool

DEADLY = 1


class ActorError(Exception):
    pass


class LostError(Exception):
    pass


class Answer:
    def __init__(self, worker, shard):
        self.worker, self.shard = worker, shard


class Worker:
    """Takes its shards in turn, and dies of the deadly one."""

    def __init__(self):
        self.taken = []
        self.answer = SimpleNamespace(remote=self._take)
        self.machine = SimpleNamespace(remote=lambda: Answer(self, None))

    def _take(self, shard, asked, form):
        self.taken.append(shard.index)
        return Answer(self, shard)


class FakeRay:
    exceptions = SimpleNamespace(RayActorError=ActorError, RayTaskError=ZeroDivisionError, ObjectLostError=LostError)

    def __init__(self, deadly=DEADLY, alive=True):
        self.deadly, self.alive, self.killed = deadly, alive, []

    def wait(self, answers, num_returns, timeout=None):
        return [answers[-1]], []  # the worst case: what was handed out last is noticed first

    def get(self, answer):
        if answer.shard is None:
            return "a machine"
        taken = answer.worker.taken
        if self.deadly in taken and taken.index(answer.shard.index) >= taken.index(self.deadly):
            raise ActorError("died")
        return ShardResult(answer.shard.index, 1, 0, None, b"", b"")

    def nodes(self):
        return [{"NodeID": "a machine", "Alive": self.alive}]

    def kill(self, worker):
        self.killed.append(worker)


def predicted(pool, count=6):
    """What is yielded for so many shards, even if an error follows."""
    result = []
    try:
        result.extend(shard.index for shard in pool.answers(iter(Shard(index, []) for index in range(count)), {}, ""))
    except UserError as error:
        return result, str(error)
    finally:
        pool.end()
    return result, None


@pytest.mark.parametrize("workers", [1, 2])
def test_only_the_shard_it_died_of_is_blamed(workers):
    pool = _Pool(FakeRay(), Worker, workers)
    result, said = predicted(pool)
    assert f"shard {DEADLY} ended 3 workers" in said
    assert set(pool.deaths) == {DEADLY}
    assert len(set(result)) == len(result)
    assert DEADLY not in result


def test_a_shard_is_blamed_less_for_workers_that_died_with_their_machines():
    _, said = predicted(_Pool(FakeRay(alive=False), Worker, 2))
    assert f"shard {DEADLY} ended {MOST_LOST} workers" in said


def test_workers_that_find_no_room_hold_nothing_up():
    ray, made = FakeRay(deadly=None), []

    def start():
        made.append(Worker())
        return made[-1]

    def wait(answers, num_returns, timeout=None):
        return [next(answer for answer in answers if answer.worker is made[1])], []

    ray.wait = wait
    result, said = predicted(_Pool(ray, start, 3))
    assert (sorted(result), said) == (list(range(6)), None)
    assert ray.killed == [made[1], made[0], made[2]]


def test_a_result_that_is_lost_with_its_machine_is_made_again():
    ray, lost = FakeRay(deadly=None), []
    real = ray.get

    def get(answer):
        if answer.shard is not None and answer.shard.index == 2 and not lost:
            lost.append(2)
            raise LostError
        return real(answer)

    ray.get = get
    result, said = predicted(_Pool(ray, Worker, 2))
    assert (sorted(result), said, lost) == (list(range(6)), None, [2])


def test_workers_that_cannot_start_end_the_job():
    ray = FakeRay()

    def get(answer):
        raise ActorError("no module named unskew")

    ray.get = get
    result, said = predicted(_Pool(ray, Worker, 2))
    assert result == []
    assert said.startswith("3 workers in a row could not start, the last with: no module named unskew")


def test_no_worker_is_started_for_no_shards():
    pool = _Pool(FakeRay(), lambda: 1 / 0, 2)
    assert predicted(pool, 0) == ([], None)
