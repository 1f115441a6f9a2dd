"""Which mistakes in the kernels do the checks find? Runs mutants of every kernel; writes results/mutations.json.

python bench/mutations.py                all: hours of one core
python bench/mutations.py conv2d.cu      those of one file, kept beside the results of the others
python bench/mutations.py mma.cu:convolve   those of one function

A mutant is run as `gpucnn kernels check` runs a kernel: over the shape table against the reference in float64, then
with every access checked in three schedules; one with a literal made double, through the gate on doubles. What no
check finds has survived, or is the same machine code. Each mutant has a process of its own, since it may never end.
"""

import argparse
import json
import multiprocessing
import re
import resource
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import gpucnn_kernels
from gpucnn_kernels import cases, channelslast, offline, resources, sim, tensorcores
from gpucnn_kernels.check import check
from gpucnn_kernels.launch import CudaC
from machine import describe
from mutants import Mutant, mutants

KERNELS = Path(gpucnn_kernels.__file__).parent
RESULTS = Path(__file__).parent / "results" / "mutations.json"
PATIENCE = 3  # times the processor time of the kernels as they are
VERDICTS = ("killed", "survived", "equivalent", "stillborn")
SHARED = {  # files with kernels of several ops, or of others than their name says, and single kernels of those
    "conv2d": ["conv2d", "conv2d_relu_maxpool"],
    "mma": ["conv2d", "conv2d_relu_maxpool", "linear"],
    "mma_forward_reduce": ["linear"],
    "mma_backward_weight_reduce": ["conv2d"],
    "fetched": ["conv2d_relu_maxpool"],
    "store_passed": ["conv2d_relu_maxpool"],
    "to_window": ["conv2d_relu_maxpool"],
    "channelslast": ["conv2d"],
    "unpool": ["conv2d_relu_maxpool"],
}
OWNERS = {"mma": tensorcores, "channelslast": channelslast}  # modules of kernels that are not <file>_raw.py
FAULTS = "race out-of-bounds uninitialised divergent-barrier deadlock bad-mask misaligned bad-argument"


def files() -> list[Path]:
    """The files with kernels, or with the size of a kernel's shared memory, in them."""
    return sorted(file for file in KERNELS.glob("*.*") if file.suffix in (".cu", ".cuh", ".py") and any(mutants(file)))


def judge(mutant: Mutant) -> tuple[str, str]:
    """("killed", by what), ("survived", ""), ("equivalent", "") or ("stillborn", the compiler's message)."""
    ops, impl = _ops(mutant)
    try:
        _install(mutant, ops)
        if mutant.kind == "double":
            if any(resources.doubles(source.ptx("sm_80")) for source in _sources(mutant, ops)):
                return "killed", "double"
        else:
            for sanitize in (False, True):
                for op in ops:
                    module, functions = _implementation(op, impl, mutant.function)
                    table = [case for case in cases.table(op, impl) if case.function in functions]
                    for verdict in check(module, table, sanitize=sanitize):
                        if verdict.fault:
                            return "killed", _what(verdict.fault)
        code = _code(mutant, ops)
    except (SyntaxError, sim.CompileError, offline.CompileError) as error:
        return "stillborn", str(error)
    _install(replace(mutant, end=mutant.start, new=""), ops)  # the kernels as they are
    return ("equivalent" if code == _code(mutant, ops) else "survived"), ""


def _ops(mutant: Mutant) -> tuple[list[str], str]:
    """The ops whose kernels a mutant is in, and their implementation."""
    stem, suffix = mutant.file.split(".")
    op, _, impl = stem.rpartition("_")
    if suffix == "cu":
        on_tensor_cores = stem in OWNERS or mutant.function.endswith("_innermost")
        return SHARED.get(mutant.function) or SHARED.get(stem, [stem]), "tf32" if on_tensor_cores else "raw"
    if impl in ("raw", "numba"):
        return [op], impl
    impl, user, mark = ("raw", "{}.cu", mutant.function) if suffix == "cuh" else ("numba", "{}_numba.py", stem)
    files = {op: KERNELS / user.format(op) for op, impls in gpucnn_kernels.ops().items() if impl in impls}
    marked = [op for op, f in files.items() if f.exists() and re.search(rf"\b{mark}\b", f.read_text())]
    return [user for op in marked for user in (SHARED.get(op, [op]) if impl == "raw" else [op])], impl


def _files(mutant: Mutant, ops: list[str]) -> list[str]:
    """The files of CUDA C, or the ops in Numba, whose code a mutant is in."""
    if mutant.file.endswith(".cu"):
        return [mutant.file.removesuffix(".cu")]
    return [op for op in ops if not mutant.file.endswith(".cuh") or (KERNELS / f"{op}.cu").exists()]


def _install(mutant: Mutant, ops: list[str]) -> None:
    text = (KERNELS / mutant.file).read_text()
    mutated = mutant.apply(text)
    if not mutant.file.endswith(".py"):
        for file in _files(mutant, ops):
            kernels = (OWNERS.get(file) or gpucnn_kernels.load(file, "raw")).kernels
            kernels.__dict__["text"] = gpucnn_kernels.source(file).replace(text, mutated)
            kernels.__dict__.pop("signatures", None)
        return
    name = mutant.file.removesuffix(".py")
    _execute(name, mutated)
    for user in (f"{op}_numba" for op in ops if name not in (f"{op}_numba", f"{op}_raw")):
        _execute(user, (KERNELS / f"{user}.py").read_text())


def _execute(name: str, text: str) -> None:
    """Put a module of this text in the place of gpucnn_kernels.`name`."""
    module = ModuleType(f"gpucnn_kernels.{name}")
    module.__package__, module.__file__ = "gpucnn_kernels", str(KERNELS / f"{name}.py")
    sys.modules[module.__name__] = module
    setattr(gpucnn_kernels, name, module)
    exec(compile(text, module.__file__, "exec"), module.__dict__)


def _implementation(op: str, impl: str, kernel: str) -> tuple[Any, set[str]]:
    """What to check for a kernel: a module, or the rung of a ladder, and the functions of the op that call it."""
    module: Any = gpucnn_kernels.load(op, impl)
    if kernel == "channels_outermost":  # which layers call for, on what a convolution has made

        def forward(*arguments: Any, out: Any) -> None:
            out[...] = channelslast.contiguous(module.forward(*arguments))

        return SimpleNamespace(forward=forward), {"forward"}
    every = {case.function for case in cases.table(op, impl)}
    rung = kernel.removeprefix(f"{op}_")
    longest = max((f for f in every if rung.startswith(f)), key=len, default="")
    if longest and hasattr(module, rung):
        module = SimpleNamespace(**{longest: getattr(module, rung)})
    return module, {longest} if longest else every


def _sources(mutant: Mutant, ops: list[str]) -> Iterator[resources.Source]:
    files, numba = _files(mutant, ops), mutant.file.endswith(".py") and not mutant.file.endswith("_raw.py")
    return (s for s in resources.sources() if s.op in files and isinstance(s.kernels, CudaC) != numba)


def _code(mutant: Mutant, ops: list[str]) -> list[str]:
    """The instructions of all kernels, without the lines of the source that they came from, and without numbers that
    Numba counts on from one compilation to the next."""
    lines = []
    for source in _sources(mutant, ops):
        names: dict[str, str] = {}
        counted = re.compile(r"_ZN\w+|_cudapy_smem_\d+")
        ptx = counted.sub(lambda match, seen=names: seen.setdefault(match[0], f"name{len(seen)}"), source.ptx("sm_80"))
        lines += [line for line in ptx.splitlines() if not re.match(r"\s*(\.loc|\.file|\.section|//|$)", line)]
    return lines


def _what(fault: str) -> str:
    found = re.search("|".join(FAULTS.split()), fault)
    return found[0] if found else "wrong result"


def run(wanted: Iterable[Mutant], jobs: int, seconds: int = 600) -> Iterator[tuple[Mutant, str, str]]:
    """Each mutant with its verdict, in the order in which they end; `jobs` at a time, `seconds` for each."""
    fork = multiprocessing.get_context("fork")  # a child begins with all modules imported
    waiting, running = iter(wanted), {}
    while True:
        while len(running) < jobs and (mutant := next(waiting, None)):
            receive, send = fork.Pipe(False)
            process = fork.Process(target=_report, args=(mutant, send, seconds))
            process.start()
            send.close()
            running[process.sentinel] = mutant, process, receive
        if not running:
            return
        for sentinel in wait(list(running)):
            mutant, process, receive = running.pop(sentinel)  # type: ignore[index]
            process.join()
            try:
                verdict = receive.recv()
            except EOFError:
                assert process.exitcode < 0, f"{mutant}: no verdict, see the traceback"
                verdict = "killed", "time limit" if process.exitcode == -24 else "crash"
            yield mutant, *verdict


def unbroken(file: Path) -> int:
    """The seconds that are enough for each mutant of `file`: the kernels as they are must pass, and say."""
    none = replace(next(mutants(file)), function="", start=0, end=0, new="")
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    (_, *verdict), *_ = run([none], 1)
    assert verdict == ["equivalent", ""], f"{file.name}: {verdict} without any mistake"
    return 5 + PATIENCE * int(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before)


def _report(mutant: Mutant, send: Any, seconds: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    send.send(judge(mutant))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="FILE", help=", ".join(file.name for file in files()))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--survivors", action="store_true", help="only those that survived the last time")
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text())["files"] if RESULTS.exists() else {}
    for file in files():
        asked = [name.partition(":")[2] for name in options.names if name.partition(":")[0] == file.name]
        if options.names and not asked:
            continue
        text, before = file.read_text(), results.get(file.name, {})
        seconds = unbroken(file)
        wanted = [m for m in mutants(file) if not any(asked) or m.function in asked]
        again = {mutant.function for mutant in wanted}
        if options.survivors:
            functions = before
            alive = [row for name in again & before.keys() for row in before[name]["survivors"]]
            wanted = [m for m in wanted if _row(m, text) in alive]
            for name in again & before.keys():
                before[name]["survivors"] = []
        else:  # what was found of the other functions that there are
            functions = {m.function: before[m.function] for m in mutants(file) if m.function in before.keys() - again}
        for mutant, verdict, how in run(wanted, options.jobs, seconds):
            found = functions.setdefault(mutant.function, {"kinds": {}, "killed by": {}, "survivors": []})
            counts = found["kinds"].setdefault(mutant.kind, dict.fromkeys(VERDICTS, 0))
            counts["survived"] -= options.survivors
            counts[verdict] += 1
            if verdict == "killed":
                found["killed by"][how] = found["killed by"].get(how, 0) + 1
            if verdict == "survived":
                row = _row(mutant, text)
                found["survivors"].append(row)
                print(f"{file.name}:{mutant.line} {mutant.kind}\n  - {row['before']}\n  + {row['after']}", flush=True)
        for found in functions.values():
            found["survivors"].sort(key=lambda row: (row["line"], row["after"]))
        results[file.name] = functions
        record = {"machine": describe(), "files": dict(sorted(results.items()))}
        RESULTS.write_text(json.dumps(record, indent=1) + "\n")
        kinds = [counts for found in functions.values() for counts in found["kinds"].values()]
        total = {verdict: sum(counts[verdict] for counts in kinds) for verdict in VERDICTS}
        print(f"{file.name}: {', '.join(f'{count} {verdict}' for verdict, count in total.items())}", flush=True)


def _row(mutant: Mutant, text: str) -> dict[str, Any]:
    before, after = mutant.show(text)
    return {"kind": mutant.kind, "line": mutant.line, "before": before, "after": after}


if __name__ == "__main__":
    main()
