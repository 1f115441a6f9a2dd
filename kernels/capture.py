"""What a run queues on a GPU, as a CUDA graph: launched as a whole, without Python or the driver between its kernels.

What CuPy asks of a capture: a stream that is not the default one, and memory of its own, because what is freed during
the capture would be given to others while the graph still uses it. Nothing may wait for the GPU, copy from or to the
host, or call a library that allocates (cuBLAS, cuRAND), and every kernel must have been loaded before.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .arrays import Array


class Capture:
    """`run(*inputs)`, run once as ever and then captured: each call does the same work again, on a copy of its inputs.

    result: what the run returned; each call fills other arrays, and returns them. Nothing may change from one call to
    the next but what lies in the device's memory. fault: why it could not be captured, else None.
    """

    def __init__(self, run: Callable[..., Any], *inputs: Array) -> None:
        import cupy

        self.fault: str | None = None
        self._pool = cupy.cuda.MemoryPool()  # lives as long as the graph does
        stream = cupy.cuda.Stream(non_blocking=True)
        cupy.cuda.get_current_stream().synchronize()  # what `run` reads may be queued there
        with cupy.cuda.using_allocator(self._pool.malloc), stream:
            self._inputs = [x.copy() for x in inputs]
            self.result = run(*self._inputs)  # compiles and loads all kernels
            stream.synchronize()
            stream.begin_capture()
            try:
                self._captured = run(*self._inputs)
                self._graph = stream.end_capture()
            except Exception as error:
                self.fault = str(error).partition("\n")[0] or type(error).__name__
                with suppress(Exception):  # the capture is broken, and ends with an error of its own
                    stream.end_capture()
                return
            self._graph.upload(stream)
            stream.synchronize()

    def takes(self, *inputs: Array) -> bool:
        """Whether they have the shapes and types of the first ones."""
        return [(x.shape, x.dtype) for x in inputs] == [(x.shape, x.dtype) for x in self._inputs]

    def __call__(self, *inputs: Array) -> Any:
        """The result for `inputs`, which it must take, once the current stream has come to it."""
        for own, x in zip(self._inputs, inputs, strict=True):
            own[...] = x
        self._graph.launch()
        return self._captured
