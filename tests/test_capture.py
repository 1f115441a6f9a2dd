"""A run becomes a CUDA graph: in the order that CUDA wants, with memory of its own, or with a word about why not.

There is no GPU here: a stand-in for CuPy queues work, runs it at once, or, while a stream captures, keeps it.
"""

import logging
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from gpucnn_kernels.capture import Capture

from gpucnn import Device
from gpucnn.graph import Repeated


class FakeCupy:
    """What Capture asks of CuPy; `said` are the calls in their order. A run queues its work with `queue`."""

    def __init__(self, fault=None):
        self.said, self.kept, self.pool, self.fault = [], None, None, fault
        self.cuda = SimpleNamespace(
            MemoryPool=lambda: SimpleNamespace(malloc="malloc of the graph"),
            Stream=self.stream,
            get_current_stream=lambda: SimpleNamespace(synchronize=lambda: self.said.append("wait for the caller")),
            using_allocator=self.using,
        )

    @contextmanager
    def using(self, malloc):
        self.pool = malloc
        yield
        self.pool = None

    def stream(self, non_blocking):
        assert non_blocking  # work on the default stream would break the capture
        fake = self

        class Stream:
            def __enter__(self):
                fake.said.append("enter")

            def __exit__(self, *error):
                fake.said.append("leave")

            def synchronize(self):
                assert fake.kept is None, "waiting breaks a capture"
                fake.said.append("wait")

            def begin_capture(self):
                fake.said.append("begin")
                fake.kept = []

            def end_capture(self):
                fake.said.append("end")
                work, fake.kept = fake.kept, None
                if fake.fault:
                    raise RuntimeError("cudaErrorStreamCaptureInvalidated")
                return SimpleNamespace(
                    upload=lambda stream: fake.said.append("upload"),
                    launch=lambda: fake.said.append("launch") or [do() for do in work],
                )

        return Stream()

    def queue(self, work):
        if self.kept is None:
            work()
        elif self.fault:
            raise NotImplementedError(self.fault)
        else:
            self.kept.append(work)


@pytest.fixture
def cupy(monkeypatch):
    def install(**options):
        fake = FakeCupy(**options)
        monkeypatch.setitem(sys.modules, "cupy", fake)
        return fake

    return install


def doubling(fake):
    """A run that writes 2 * x, allocated from whatever pool is in use."""
    pools = []

    def run(x):
        pools.append(fake.pool)
        y = np.zeros_like(x)
        fake.queue(lambda: np.multiply(x, 2, out=y))
        return (y,)

    return run, pools


def test_it_warms_up_then_captures_and_launches_as_often_as_it_is_called(cupy):
    fake = cupy()
    run, pools = doubling(fake)
    capture = Capture(run, np.array([1.0, 2.0]))
    assert capture.fault is None
    assert capture.result[0].tolist() == [2, 4]
    assert fake.said == ["wait for the caller", "enter", "wait", "begin", "end", "upload", "wait", "leave"]
    assert pools == ["malloc of the graph"] * 2
    assert capture(np.array([5.0, 7.0]))[0].tolist() == [10, 14]
    assert capture(np.array([0.5, 1.0]))[0].tolist() == [1, 2]
    assert len(pools) == 2 and fake.said[-2:] == ["launch", "launch"]


def test_the_inputs_are_copied_so_that_callers_may_change_theirs(cupy):
    run, _ = doubling(cupy())
    x = np.array([1.0])
    capture = Capture(run, x)
    x[0] = 100
    assert capture(np.array([3.0]))[0].tolist() == [6]
    assert x.tolist() == [100]


def test_only_what_has_the_same_shapes_and_types_is_taken(cupy):
    run, _ = doubling(cupy())
    capture = Capture(run, np.zeros(3, "f4"))
    assert capture.takes(np.ones(3, "f4"))
    assert not capture.takes(np.ones(2, "f4"))
    assert not capture.takes(np.ones(3, "f8"))


def test_what_refuses_to_be_captured_has_run_once_and_says_why(cupy):
    fake = cupy(fault="cuBLAS cannot be captured\nmore")
    run, _ = doubling(fake)
    capture = Capture(run, np.array([4.0]))
    assert capture.fault == "cuBLAS cannot be captured"
    assert capture.result[0].tolist() == [8]
    assert fake.kept is None and fake.said[-2:] == ["end", "leave"]


def counting(fake, state):
    def run():
        fake.queue(lambda: np.add(state, 1, out=state))
        return (state,)

    return run


def test_steps_that_change_a_state_count_once_each(cupy):
    """Recorded, compared and repeated: after n calls, the state is that of n steps."""
    fake, state = cupy(), np.zeros(1)
    repeated = Repeated(counting(fake, state), Device("cuda"), [state])
    for n in range(1, 6):
        repeated()
        assert state[0] == n
    assert repeated.trusted and fake.said.count("launch") == 4


def test_a_fall_back_is_one_line_and_no_step_is_lost(cupy, caplog):
    fake, state = cupy(fault="a synchronisation"), np.zeros(1)
    repeated = Repeated(counting(fake, state), Device("cuda"), [state])
    with caplog.at_level(logging.WARNING, "gpucnn.kernels"):
        for n in range(1, 4):
            repeated()
            assert state[0] == n
    assert [record.getMessage() for record in caplog.records] == [
        "no CUDA graph, each kernel is launched by itself: a synchronisation"
    ]
    assert not repeated.trusted


def test_what_the_graph_does_otherwise_is_found_by_the_comparison(cupy):
    """The run adds what Python counts; a graph would add the first number again and again."""
    fake, state, calls = cupy(), np.zeros(1), []

    def run():
        calls.append(1)
        number = len(calls)
        fake.queue(lambda: np.add(state, number, out=state))
        return (state,)

    repeated = Repeated(run, Device("cuda"), [state])
    for _ in range(4):
        repeated()
    assert not repeated.trusted and len(calls) > 4


def test_switched_off():
    state = np.zeros(1)
    repeated = Repeated(lambda: (state.__iadd__(1),), Device("cuda", graph=False), [state])
    for _ in range(3):
        repeated()
    assert state[0] == 3
