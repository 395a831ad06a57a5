"""What is done every few seconds while something else goes on."""

import multiprocessing
import threading
import time

from bench.beat import every

SECONDS = 0.01


def beats(calls):
    before, deadline = len(calls), time.time() + 10
    while len(calls) < before + 2:
        if time.time() > deadline:
            return False
        time.sleep(SECONDS)
    return True


def test_it_is_done_again_and_again_and_not_once_more_when_the_block_has_ended():
    calls = []
    with every("test", SECONDS, lambda: calls.append(1)):
        assert beats(calls)
    ended = len(calls)
    time.sleep(10 * SECONDS)
    assert len(calls) == ended


def test_no_call_outlives_the_block():
    under_way, done = threading.Event(), []

    def slowly():
        under_way.set()
        time.sleep(0.2)
        done.append(1)

    with every("test", SECONDS, slowly):
        assert under_way.wait(10)
    assert done, "the block ended in the midst of a call"


def test_what_fails_is_done_again_and_keeps_nothing_else_from_being_done():
    fails, calls = [], []

    def fail():
        fails.append(1)
        raise OSError

    with every("test", SECONDS, fail), every("test", SECONDS, lambda: calls.append(1)):
        assert beats(fails) and beats(calls)


def test_what_hangs_keeps_nothing_of_another_kind_from_being_done():
    let_go, calls = threading.Event(), []
    with every("hangs", SECONDS, let_go.wait), every("test", SECONDS, lambda: calls.append(1)):
        assert beats(calls)
        let_go.set()


def test_one_thread_does_all_of_a_kind():
    def threads():
        return [t for t in threading.enumerate() if t.name == "test"]

    with every("test", SECONDS, list):
        before = len(threads())
        for _ in range(20):
            with every("test", SECONDS, list), every("test", SECONDS, list):
                pass
        assert len(threads()) == before


def _in_a_fork(sender):
    calls = []
    with every("test", SECONDS, lambda: calls.append(1)):
        sender.send(beats(calls))


def test_a_fork_has_a_beat_of_its_own():
    with every("test", SECONDS, list):
        receiver, sender = multiprocessing.Pipe(duplex=False)
        child = multiprocessing.get_context("fork").Process(target=_in_a_fork, args=(sender,))
        child.start()
        assert receiver.recv()
        child.join()
