"""From the text of kernels to functions that can be called.

`load(text, options, checked)` is all that RawModule and PtxModule need of this file. The text is C++ with CUDA's
words: a .cu file as it is, or what the PTX translation wrote. It is run through the preprocessor with the caller's
options alone, so that the header stays out of reach of a -D; then the kernels (every `__global__ void name(` that
is no template) and the dynamic shared arrays (`extern __shared__ T name[];`) are looked up in what is left, the
table of kernels and the room for dynamic shared memory are written at its foot, and it is compiled behind
cuda_on_cpu.h to a shared library. The library's calls (gpusim.h) are answered by the runtime, which is built once.

    library = load(text, ("-DTILE=16",), checked=False)
    library.kernels["name"].parameters        ("const float*", "float*", "int")
    Function(library.kernels["name"], ...)    in launch.py: checks arguments, launches, raises KernelFault
"""

import ctypes
import itertools
import platform
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .compiler import build, digest, find_compiler

HERE = Path(__file__).parent
RUNTIME = ("runtime.cpp", "fiber.cpp", "fault.cpp", "memory.cpp", "async.cpp", "check.cpp", "hooks.cpp", "report.cpp")
DYNAMIC_ROOM = 227 * 1024  # the most shared memory that a block can have on any GPU so far (sm_90)

# A CUDA thread's stack has 128 KB (fiber.cpp); what would overflow it is refused.
_COMMON = (
    "-std=c++20",
    "-fPIC",
    "-fno-exceptions",
    "-fno-strict-aliasing",
    "-ffp-contract=off",
    "-Werror=frame-larger-than=98304",
)
_KERNEL = ("-fwrapv", "-fno-math-errno", "-fvisibility=hidden")
# gcc: `extern thread_local` is read as it is, without asking whether it has a constructor; and on x86 the faster of
# two ways to find it.
_GNU = ("-fno-extern-tls-init", *(["-mtls-dialect=gnu2"] if platform.machine() == "x86_64" else []))

# The compiler announces every access to the runtime (hooks.cpp). It must not link the sanitizer's own library, which
# would take over the whole process; so the library is linked in a step of its own, without -fsanitize. addr2line
# misreads the file names of DWARF 5 where a text has a #line.
# Each sanitizer has an option of its own, because zig reads the first name of a list.
_CHECKED = (
    *("-O1", "-gdwarf-4", "-c", "-fno-delete-null-pointer-checks"),
    *("-fsanitize=thread", "-fsanitize=bounds,alignment,integer-divide-by-zero", "-fsanitize-recover=all"),
)
_CHECKED_GNU = ("--param=tsan-instrument-func-entry-exit=0", "-fno-tree-sra")  # a float4 is read as one
_IGNORED = ("-std=", "--std=", "-lineinfo", "--generate-line-info", "-use_fast_math", "--use_fast_math")

_KERNELS = re.compile(
    r"""(?P<template>template\s*<[^;{}]*>\s*)?(?:extern\s+"C"\s+)?\b__global__\s+(?:void\s+)?
    (?:__launch_bounds__\s*\((?P<bounds>[^;{}]*?)\)\s*)?(?:void\s+)?(?P<name>\w+)\s*\(""",
    re.VERBOSE,
)
_PARAMETERS = re.compile(r"[^;{}()]*")
_NAME = re.compile(r".*[\s*](\w+)\s*(?:\[[^\]]*\]\s*)*", re.DOTALL)
_CONSTANT = re.compile(r"(\b__constant__\s[^;={}()]*);")  # without values: on a GPU zeros, which the host may replace
_DYNAMIC = re.compile(r"extern\s+__shared__\s[^;]*?(\w+)\s*\[\s*\]\s*;")


class _Row(ctypes.Structure):  # gpusim::Kernel
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("parameters", ctypes.c_char_p),
        ("call", ctypes.c_void_p),
        ("most_threads", ctypes.c_int),
    )


@dataclass(frozen=True)
class Kernel:
    """One kernel of a library: its parameters' types as C spells them, their names (or numbers, where they have
    none), its address, and its __launch_bounds__ or 0."""

    name: str
    parameters: tuple[str, ...]
    names: tuple[str, ...]
    call: int
    most_threads: int


@dataclass(frozen=True)
class Library:
    """A compiled module. `dynamic_shared` is the address of the function that finds its dynamic shared memory."""

    path: Path
    kernels: dict[str, Kernel]
    dynamic_shared: int
    dynamic_room: int
    checked: bool


def load(text: str, options: Sequence[str] = (), checked: bool = False, level: str = "-O2") -> Library:
    """The kernels of `text`. ValueError for an option that only a GPU's compiler knows; NoCompiler, CompileError.

    level: how much is optimised where it is not checked.
    """
    return _load(text, tuple(options), checked, level)


@cache
def runtime() -> ctypes.CDLL:
    """The runtime, for all modules of the process: they find its functions and its threadIdx by name."""
    compiler = find_compiler()
    flags = [*_COMMON, "-O2", "-shared"]
    name = f"runtime-{digest(*flags, compiler.version, _sources('*.h', '*.cpp'))}.so"
    path = build(compiler, name, [*flags, *(str(HERE / file) for file in RUNTIME)])
    return ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)


@cache
def _load(text: str, options: tuple[str, ...], checked: bool, level: str) -> Library:
    compiler = find_compiler()
    defines = _defines(options)
    flags = [*_COMMON, *_KERNEL, *(_CHECKED if checked else [level, "-shared"])]
    if compiler.gnu:
        flags += [*_GNU, *(_CHECKED_GNU if checked else [])]
    name = digest(text, *flags, *defines, compiler.version, _sources("*.h", "build.py")) + ".so"
    with ThreadPoolExecutor(1) as beside:  # built at the same time, the first time
        ready = beside.submit(runtime)
        path = build(
            compiler,
            name,
            [*flags, "-include", str(HERE / "cuda_on_cpu.h"), "-x", "c++", "-"],
            lambda: _complete(compiler.run(["-E", *defines, "-x", "c++", "-"], f'#line 1 "kernel.cu"\n{text}')),
            link=checked,
        )
        ready.result()
    module = ctypes.CDLL(str(path))
    table = ctypes.cast(module.gpusim_kernels, ctypes.POINTER(_Row))
    rows = itertools.takewhile(lambda row: row.name, (table[i] for i in itertools.count()))
    names = ctypes.string_at(ctypes.addressof(ctypes.c_char.in_dll(module, "gpusim_names"))).decode().split(";")
    kernels = {
        row.name.decode(): Kernel(
            row.name.decode(), _parameters(row.parameters), tuple(of_row.split()), row.call, row.most_threads
        )
        for row, of_row in zip(rows, names, strict=True)
    }
    dynamic = ctypes.cast(module.gpusim_find_dynamic, ctypes.c_void_p).value or 0
    return Library(path, kernels, dynamic, ctypes.c_ulong.in_dll(module, "gpusim_dynamic_room").value, checked)


def _parameters(spelled: bytes) -> tuple[str, ...]:
    return tuple(spelled.decode().split(", ")) if spelled else ()


@cache
def _sources(*patterns: str) -> str:
    """What the header and the runtime are made of: a change to them outdates whatever was built with them."""
    return "\0".join(file.read_text() for pattern in patterns for file in sorted(HERE.glob(pattern)))


def _defines(options: Sequence[str]) -> list[str]:
    """The options of the preprocessor; those that only tune a GPU's compiler have no meaning here."""
    defines = ["-DGPUCNN_SIM=1", "-D__CUDA_ARCH__=800"]
    for option in options:
        if option.startswith(("-D", "-U", "-I")):
            defines.append(option)
        elif not option.startswith(_IGNORED):
            raise ValueError(f"option {option!r} means nothing to the simulator; it takes -D, -U and -I")
    return defines


def _complete(text: str) -> str:
    """The preprocessed text with the table of its kernels and the room for its dynamic shared memory."""
    kernels = {match["name"]: match for match in _KERNELS.finditer(text) if not match["template"]}
    names = ";".join(_names(text, match.end()) for match in kernels.values())
    dynamic = dict.fromkeys(_DYNAMIC.findall(text))
    room = DYNAMIC_ROOM if dynamic else 16
    most = {name: (match["bounds"] or "0").partition(",")[0] for name, match in kernels.items()}
    rows = "".join(f"GPUSIM_KERNEL({name}, {threads})" for name, threads in most.items())
    labels = "".join(f".globl {name}\\n.hidden {name}\\n{name}:\\n" for name in ("gpusim_dynamic", *dynamic))
    text = _CONSTANT.sub(r"\1 = {};", text)
    return f"""{text}
# 1 "gpusim_foot"
asm(".section .tbss.gpusim_dynamic,\\"awT\\",@nobits\\n.balign 128\\n{labels}.zero {room}\\n.previous\\n");
extern constinit thread_local char gpusim_dynamic[];
#pragma GCC visibility push(default)
extern "C" void* gpusim_find_dynamic() {{ return gpusim_dynamic; }}
extern "C" {{ extern const unsigned long gpusim_dynamic_room = {room}; }}
extern "C" {{ extern const gpusim::Kernel gpusim_kernels[] = {{ {rows} {{}} }}; }}
extern "C" {{ extern const char gpusim_names[] = "{names}"; }}
#pragma GCC visibility pop
"""


def _names(text: str, start: int) -> str:
    """The names of the parameters whose list begins at `start`, with blanks between them."""
    match = _PARAMETERS.match(text, start)
    parts = match[0].split(",") if match and match[0].strip() else []
    found = [_NAME.fullmatch(part.strip()) for part in parts]
    return " ".join(name[1] if name else str(i) for i, name in enumerate(found))
