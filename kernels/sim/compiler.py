"""The C++ compiler: which one there is, and what it makes of a text, kept on disk."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from ..cachefolder import cache_folder, writable
from ..offline import CompileError

# Of a processor and of memory: templates of a few lines can take a compiler days. The limits hold for all it starts.
SECONDS, KILOBYTES = 120, 4 << 20
_LIMITED = 'ulimit -t {}; ulimit -v {} 2>/dev/null; exec "$@"'


class NoCompiler(Exception):
    """There is no C++ compiler; `hint` says what to install."""

    hint = "apt install g++, or pip install ziglang"
    exit_code = 3

    def __init__(self) -> None:
        super().__init__("simulating a kernel needs a C++ compiler, and there is neither g++ nor clang++")
        self.add_note(self.hint)


@dataclass(frozen=True)
class Compiler:
    command: tuple[str, ...]
    version: str

    @property
    def gnu(self) -> bool:
        return "clang" not in self.version

    def run(self, arguments: Sequence[str], text: str = "") -> str:
        """What the compiler prints; `text` is its input. CompileError where it fails, or takes too much."""
        command = ["/bin/sh", "-c", _LIMITED.format(SECONDS, KILOBYTES), "sh", *self.command, *arguments]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CompileError(done.stderr)
        return done.stdout


def find_compiler() -> Compiler:
    """g++, clang++ or zig's clang, whichever is found first. NoCompiler where there is none."""
    for name in ("g++", "clang++"):
        if path := shutil.which(name):
            return _compiler((path,))
    if find_spec("ziglang"):
        return _compiler((sys.executable, "-m", "ziglang", "c++"))
    raise NoCompiler


@cache
def _compiler(command: tuple[str, ...]) -> Compiler:
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    return Compiler(command, done.stdout.splitlines()[0])


def digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


_one_at_a_time = threading.Lock()  # or two threads make two temporary folders, and one of them goes away


def build(
    compiler: Compiler,
    name: str,
    arguments: Sequence[str],
    text: Callable[[], str] = lambda: "",
    link: bool = False,
) -> Path:
    """The file `name` of the cache folder; if it is not there, compiled from `text()` or the files in `arguments`.

    link: the arguments make an object file, to be linked with none of them. Processes that build a file at once do
    not disturb one another: each writes one of its own and renames it.
    """
    path = cache_folder() / name
    if not _is_whole(path):
        with _one_at_a_time:
            path = writable(path.parent) / name
    if _is_whole(path):
        return path
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made, unlinked = Path(folder) / name, Path(folder) / "kernel.o"
        compiler.run([*arguments, "-o", str(unlinked if link else made)], text())
        if link:
            compiler.run(["-shared", str(unlinked), "-o", str(made)])
        content = made.read_bytes()
        made.write_bytes(content + hashlib.sha256(content).digest())
        made.replace(path)
    return path


def _is_whole(path: Path) -> bool:
    """Whether a library is as it was built: loading one that was cut short ends the process with SIGBUS.

    Its last 32 bytes are the hash of the others; no loader looks behind what the header names.
    """
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return hashlib.sha256(content[:-32]).digest() == content[-32:]
