"""KernelFault: what a kernel did wrong, where in its source, and which thread of which block did it."""

from collections.abc import Sequence

Index = tuple[int, int, int]


class KernelFault(Exception):
    """A kernel that broke the rules of CUDA.

    kind: race, out-of-bounds, uninitialised, divergent-barrier, deadlock, bad-mask, misaligned or bad-argument (and
    assertion, where the kernel itself said stop; out-of-memory, where the simulator has too little); kernel: its
    name; lines: ("conv2d.cu:22", "conv2d.cu:31"), the place of the fault first, then that of the other thread where
    there is one; thread, block: indices (x, y, z) of who did it, None where no thread ran yet.
    """

    hint = "gpucnn kernels check --sanitize judges every access of a kernel"

    def __init__(
        self,
        kind: str,
        kernel: str,
        text: str,
        lines: tuple[str, ...] = (),
        thread: Index | None = None,
        block: Index | None = None,
        other: str = "",
    ):
        self.kind, self.kernel, self.lines, self.thread, self.block = kind, kernel, lines, thread, block
        self.text = text + other
        super().__init__(kind, kernel, text, lines, thread, block, other)  # what pickle calls it with

    def __str__(self) -> str:
        where = ""
        if self.thread and self.block and self.lines:
            where = f" at {self.lines[0]} by thread {index(self.thread)} of block {index(self.block)}"
        return f"{self.kernel}: {self.kind}{where}: {self.text}"


def index(of: Sequence[int]) -> str:
    return f"({', '.join(map(str, of))})"
