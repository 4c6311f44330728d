"""Signals that interrupt a command."""

import signal

import pytest

from unskew.common import Terminated, ending_in_order


@pytest.fixture(params=[signal.SIGTERM, signal.SIGHUP])
def number(request):
    before = signal.signal(request.param, signal.SIG_DFL)
    yield request.param
    signal.signal(request.param, before)


def test_a_signal_that_comes_twice_ends_the_block_once_and_in_order(number):
    tidied = []

    def work():
        try:
            signal.raise_signal(number)
        finally:
            signal.raise_signal(number)
            tidied.append(True)

    with pytest.raises(Terminated) as ended, ending_in_order():
        work()
    assert tidied
    assert ended.value.exit_code == 128 + number
    assert signal.getsignal(number) == signal.SIG_DFL


def test_what_nohup_ignores_stays_ignored(number):
    signal.signal(number, signal.SIG_IGN)
    with ending_in_order():
        signal.raise_signal(number)
    assert signal.getsignal(number) == signal.SIG_IGN
