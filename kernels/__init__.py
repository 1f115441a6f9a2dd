"""The kernels: every op that has more than one implementation, found by file name.

`conv2d_xp.py` is the implementation `xp` of the op `conv2d`; a new file is a new implementation, and
there is no list to add it to. All implementations of an op have the same public functions with the
same signatures. This package imports nothing from gpucnn.
"""

from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

__all__ = ["IMPLEMENTATIONS", "implementations", "load", "ops", "source"]

IMPLEMENTATIONS = ("xp", "cpu", "exact", "numba", "raw", "tf32", "tf32x3", "bf16")


@cache
def ops() -> dict[str, tuple[str, ...]]:
    """Every op with its implementations, e.g. `{"conv2d": ("xp",), ...}`."""
    found: dict[str, list[str]] = {}
    for file in sorted(Path(__file__).parent.glob("*_*.py")):
        op, _, impl = file.stem.rpartition("_")
        if op and impl in IMPLEMENTATIONS:
            found.setdefault(op, []).append(impl)
    return {op: tuple(sorted(impls, key=IMPLEMENTATIONS.index)) for op, impls in found.items()}


def implementations(op: str) -> tuple[str, ...]:
    """The implementations of `op`, the reference first. ValueError where no such op exists."""
    if op not in ops():
        raise ValueError(f"no kernels for the op {op!r}; there are {', '.join(ops())}")
    return ops()[op]


def load(op: str, impl: str) -> ModuleType:
    """The module `<op>_<impl>.py`. ValueError names what exists where it does not."""
    if impl not in implementations(op):
        raise ValueError(f"{op} has no implementation {impl!r}; it has {', '.join(implementations(op))}")
    return import_module(f"{__name__}.{op}_{impl}")


def source(op: str, path: Path | None = None) -> str:
    """The CUDA C text of `<op>.cu`, or of `path`, behind common.cuh: one text, because CuPy's cache of binaries
    does not look into included files. Compilers and simulators name the lines of the files themselves.
    """
    folder = Path(__file__).parent
    files = folder / "common.cuh", path or folder / f"{op}.cu"
    return "".join(f'#line 1 "{file.name}"\n{file.read_text(encoding="utf-8-sig")}\n' for file in files)
