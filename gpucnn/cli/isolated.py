"""Running what may never come back: a kernel on the simulator can end Python, by its stack, or loop for ever."""

import faulthandler
import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from ..errors import GpucnnError

PATIENCE = 60  # seconds for one item; the slowest case of the tables takes 10 when it is checked


class Died(Exception):
    """The process ended, or was ended; the message says why."""


def isolated(produce: Callable[..., Iterable[Any]], *arguments: Any) -> Iterator[Any]:
    """What `produce(*arguments)` yields, computed in a process of its own. Died where it does not come to its end."""
    fork = multiprocessing.get_context("fork")  # the child begins with all that is loaded here
    receive, send = fork.Pipe(duplex=False)
    process = fork.Process(target=_send, args=(send, produce, arguments), daemon=True)
    process.start()
    send.close()
    try:
        while True:
            if not receive.poll(PATIENCE):
                raise Died(f"the kernel did not end in {PATIENCE} s")
            item, error = receive.recv()
            if error:
                raise error
            if item is None:
                return
            yield item
    except EOFError:
        raise Died("the kernel crashed: a recursion without end, or a write far beside an array") from None
    finally:
        process.kill()
        process.join()


def _send(send: Any, produce: Callable[..., Iterable[Any]], arguments: tuple) -> None:
    faulthandler.disable()  # a crash is the parent's to tell
    with suppress(BrokenPipeError, KeyboardInterrupt):
        try:
            for item in produce(*arguments):
                send.send((item, None))
            send.send((None, None))
        except Exception as error:
            known = GpucnnError(str(error) or type(error).__name__, getattr(error, "hint", "run again with --debug"))
            known.exit_code = getattr(error, "exit_code", 1)
            send.send((None, known))
