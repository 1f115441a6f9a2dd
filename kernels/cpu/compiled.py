"""Numba's compiler with a cache on disk, threads that do not fight, and a word while it works.

    @compiled("void(f4[:,:,:,::1], i8)", parallel=True)
    def kernel(x, channels): ...          machine code at its first call, made or read from the cache
    @inlined
    def part(address, step): ...          a function of kernels, compiled into each that calls it

Numba's own cache looks at the file of a function only, and would keep kernels whose parts in another file changed;
this one lies in a folder named after all files of this one.
"""

import logging
import os
from collections.abc import Callable
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numba
from numba.core import caching
from threadpoolctl import ThreadpoolController

from .. import recording
from ..cachefolder import cache_folder, writable
from .target import TARGET

log = logging.getLogger("gpucnn.kernels")  # who wants to see it adds a handler

# Products and sums may be fused; NaN and infinity stay what they are.
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "boundscheck": False,
    "error_model": "numpy",
    "fastmath": {"contract", "nsz"},
}

# By force: what LLVM only calls would be found in the part's own library where that was compiled in this process, and
# in the kernel's where that came from the cache; pooling's gradients took twice as long the one way as the other.
inlined = numba.njit(**_OPTIONS, forceinline=True)


FEW = 1 << 14  # elements, which a loop is done with before threads have started

# Of Numba's parallel passes only prange: looking for more loops to run on threads takes as long as compiling them.
_PRANGE = {
    name: name == "prange"
    for name in ("prange", "comprehension", "reduction", "inplace_binop", "setitem", "numpy", "stencil", "fusion")
}


class Compiled:
    """A function for which machine code of the given signatures is made, or fetched, when it is first called."""

    def __init__(self, function: Callable, signatures: tuple[str, ...], level: int, options: dict[str, Any]) -> None:
        self.function, self.signatures, self.level = function, signatures, level
        self.options = _OPTIONS | options
        if self.options.get("parallel"):
            self.options["parallel"] = _PRANGE
        self.__doc__, self.__name__ = function.__doc__, function.__name__
        self.call: Callable | None = None  # the machine code

    def __call__(self, *arguments: Any) -> Any:
        if recording.taken(self, arguments):
            return None
        if self.call is None:
            self.compile()
        return self.call(*arguments)  # type: ignore[misc]

    def __str__(self) -> str:
        """`module:name`, from where it can be imported."""
        return f"{self.function.__module__}:{self.__name__}"

    def compile(self) -> None:
        """Make the machine code, or fetch it from the cache."""
        start_threads()
        dispatcher = self._dispatcher
        config: Any = numba.config
        before, config.OPT = config.OPT, type(config.OPT)(self.level)
        try:
            for signature in self.signatures:
                dispatcher.compile(signature)
        finally:
            config.OPT = before
        dispatcher.disable_compile()
        self.call = dispatcher

    def kept(self) -> bool:
        """Whether the cache has its machine code."""
        dispatcher = self._dispatcher
        return all(dispatcher._cache.keeps(signature, dispatcher.targetctx) for signature in self.signatures)

    @cached_property
    def _dispatcher(self) -> Any:
        dispatcher = numba.njit(**self.options)(self.function)
        dispatcher._cache = _Cache(self.function)
        return dispatcher


def called_by(run: Callable[[], object]) -> list[Compiled]:
    """The kernels that `run` calls and that have no machine code in this process yet. They do nothing in it."""
    called: dict[Compiled, bool] = {}
    with recording.watched(lambda kernel, _: kernel.call is None and called.setdefault(kernel, True)):
        run()
    return list(called)


def compiled(*signatures: str, level: int = 3, **options: Any) -> Callable[[Callable], Compiled]:
    """A decorator: see above. `options` are those of numba.njit; `level` is that of LLVM's optimisation.

    Level 1 takes three quarters of the time of 3, and is as fast where a kernel is made of tiles and vectors already.
    """
    return lambda function: Compiled(function, signatures, level, options)


@cache
def start_threads() -> None:
    """Choose the threads, once, before the first kernel.

    OpenMP's start a kernel in 2 us, those of Numba's own work queue in 76 us. They wait for one another by spinning,
    for a millisecond unless told otherwise; after some 10 us they should let others have the core. BLAS keeps one
    thread for itself: its idle ones spin, and on the cores of ours they would slow every kernel down by a factor of 2
    to 5.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # libgomp reads it when it is loaded
    if numba.config.THREADING_LAYER == "default":  # type: ignore[attr-defined]
        try:
            from numba.np.ufunc import omppool  # type: ignore[attr-defined]  # noqa: F401
        except ImportError:
            pass  # no libgomp: Numba takes what there is, and `unfavourable` says so
        else:
            numba.config.THREADING_LAYER = "omp"  # type: ignore[attr-defined]
    ThreadpoolController().limit(limits=1, user_api="blas")


def unfavourable() -> list[tuple[str, str]]:
    """(what slows the kernels down, what to do) for each thing about threads that does; known after a first step."""
    faults = []
    try:
        layer = numba.threading_layer()
    except ValueError:  # no kernel has run on threads yet
        layer = "omp"
    if layer == "workqueue" and numba.get_num_threads() > 1:
        faults.append(("Numba runs its threads by a work queue, which starts them slowly", "apt install libgomp1"))
    ThreadpoolController().limit(limits=1, user_api="blas")  # of libraries that were loaded since the first kernel
    for library in ThreadpoolController().info():
        if library["user_api"] == "blas" and library["num_threads"] > 1:
            name = library["internal_api"]
            faults.append(
                (f"{name} keeps {library['num_threads']} threads that slow ours down", "OPENBLAS_NUM_THREADS=1")
            )
    return faults


@cache
def _digest() -> str:
    """Of the machinery, on which the machine code of every kernel may depend."""
    text = b"\0".join(file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py")))
    return sha256(text + repr(TARGET).encode()).hexdigest()[:16]


class _Locator(caching._CacheLocator):
    """Says that machine code lies in our folder of the user's cache, and that its name tells how fresh it is."""

    def __init__(self, function: Callable) -> None:
        self.function = function

    @classmethod
    def from_function(cls, py_func: Callable, py_file: str) -> "_Locator | None":
        locator = cls(py_func)
        locator.ensure_cache_path()
        return locator

    def get_cache_path(self) -> str:
        return str(writable(cache_folder() / f"cpu-{_digest()}"))

    def get_source_stamp(self) -> str:
        return sha256(Path(self.function.__code__.co_filename).read_bytes()).hexdigest()

    def get_disambiguator(self) -> str:
        return str(self.function.__code__.co_firstlineno)


class _Implementation(caching.CompileResultCacheImpl):
    _locator_classes = [_Locator]  # type: ignore[list-item]  # noqa: RUF012


class _Cache(caching.FunctionCache):
    _impl_class = _Implementation

    def load_overload(self, signature: Any, target: Any) -> Any:
        try:
            found = super().load_overload(signature, target)
        except Exception:  # a file that was cut short, as by a power failure, can raise anything
            self.flush()
            found = None
        if found is None:
            log.info("compiling %s", self._py_func.__name__)
        return found

    def save_overload(self, signature: Any, data: Any) -> None:
        try:
            super().save_overload(signature, data)
        except OSError as fault:  # the disk is full, say; the machine code is here
            log.warning("a compiled kernel could not be kept: %s", fault.strerror)

    def keeps(self, signature: str, target: Any) -> bool:
        """Whether there is machine code for the signature, without loading it."""
        target.refresh()
        try:
            return self._index_key(signature, target.codegen()) in self._cache_file._load_index()
        except Exception:  # see load_overload
            return False
