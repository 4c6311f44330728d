"""The command's own process beside Ray, which is a stand-in: its signals, its address, what it sends to a worker."""

import pickle
import signal
import sys
from types import SimpleNamespace

import pytest

from unskew.common import Terminated, UserError
from unskew.jobs import JobSettings
from unskew.jobs.ray_cluster import call_on_ray, ray_cluster

JOB = JobSettings("in.jsonl", "out/", executor="ray")


class FakeRay:
    """Sets a handler of SIGTERM as `ray.init` does, and calls functions where they are."""

    exceptions = SimpleNamespace(RayTaskError=ZeroDivisionError, RayError=ZeroDivisionError)

    def __init__(self, during_init=lambda: None):
        self.during_init, self.sizes = during_init, []

    def is_initialized(self):
        return False

    def init(self, **options):
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(number))
        self.during_init()

    def shutdown(self):
        pass

    def cluster_resources(self):
        return {"CPU": 1.0}

    def nodes(self):
        return [{"Alive": True, "Resources": {"CPU": 1.0}}]

    def remote(self, **options):
        def decorate(function):
            self.sizes.append(len(pickle.dumps(function)))
            return SimpleNamespace(remote=function)

        return decorate

    def get(self, value):
        return value


@pytest.fixture
def use(monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    yield lambda ray: monkeypatch.setitem(sys.modules, "ray", ray) or ray
    signal.signal(signal.SIGTERM, before)


def terminate():
    """Call the handler in force, as a SIGTERM would. One that nothing handles would end all tests of this process."""
    handler = signal.getsignal(signal.SIGTERM)
    assert callable(handler)
    handler(signal.SIGTERM, None)


def test_a_sigterm_ends_a_ray_job_as_any_other_also_between_its_calls_of_workers(use):
    use(FakeRay())
    with pytest.raises(Terminated), ray_cluster(JOB):
        terminate()


def test_a_sigterm_while_ray_connects(use):
    use(FakeRay(terminate))
    with pytest.raises(Terminated), ray_cluster(JOB):
        pass


def test_a_cluster_that_cannot_be_reached_is_refused(use, monkeypatch):
    def fail():
        raise ConnectionError("nobody answers\nafter a while")

    use(FakeRay(fail))
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    with (
        pytest.raises(UserError, match=r"RAY_ADDRESS 'head:6379' cannot be joined: nobody answers; check"),
        ray_cluster(JOB),
    ):
        pass


class Call:
    """As the estimate of a prior, which has many texts."""

    def __init__(self):
        self.texts = "x" * 10**6

    def __call__(self):
        return len(self.texts)


def test_rows_are_sent_as_an_argument_because_ray_limits_the_size_of_a_function(use):
    ray = use(FakeRay())
    assert call_on_ray(JOB, Call()) == 10**6
    assert max(ray.sizes) < 10_000
