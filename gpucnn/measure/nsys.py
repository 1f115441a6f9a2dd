"""NVIDIA's Nsight Systems: what it is told to record, and its reports read as CSV.

Three of its reports together say which kernel was launched for which range, exactly: the launch of a kernel has its
correlation number, and begins inside a range of its thread. (nvtx_kern_sum counts a kernel for every range around it,
and has no times from which gaps would follow.) The columns are those of
https://docs.nvidia.com/nsight-systems/AnalysisGuide, found by their names.

    nvtx_pushpop_trace   Start (ns),End (ns),...,Name,PID,TID,Lvl,...       Name is "domain:range"
    cuda_api_trace       Start (ns),Duration (ns),Name,Result,CorrID,Pid,Tid,...
    cuda_gpu_trace       Start (ns),Duration (ns),CorrId,...,Strm,Name
"""

import csv
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

from ..errors import DeviceError, UsageError, shortened
from .slices import STEP, Profile, Slice

RANGES, CALLS, KERNELS = REPORTS = "nvtx_pushpop_trace", "cuda_api_trace", "cuda_gpu_trace"
OUTSIDE, GRAPH = "outside of ranges", "CUDA graph"
_DOMAIN = "gpucnn:"
_TIMES = {"start", "end", "duration"}
_LONGEST = 1e18  # microseconds
_UNITS = {"ns": 1e-3, "us": 1.0, "µs": 1.0, "ms": 1e3, "s": 1e6}
_INSTALL = "developer.nvidia.com/nsight-systems has it; --tool events does without"


def record(command: Sequence[str], report: Path) -> None:
    """Run `command` under nsys, which records from cudaProfilerStart to its stop into `report`, a .nsys-rep.

    DeviceError where that fails.
    """
    how = ["--trace=cuda,nvtx,cublas", "--sample=none", "--cpuctxsw=none", "--capture-range=cudaProfilerApi"]
    how += ["--capture-range-end=stop", "--cuda-graph-trace=node", "--force-overwrite=true"]
    _nsys("profile", *how, f"--output={report.with_suffix('')}", *command)
    if not report.exists():
        raise DeviceError("nsys wrote no report", "a smaller --steps may help; --tool events does without nsys")


def export(report: Path, to: Path) -> dict[str, str]:
    """The texts of REPORTS, from a .nsys-rep, through files that begin with `to`."""
    how = ["--report", ",".join(REPORTS), "--format=csv", "--force-export=true", "--force-overwrite=true"]
    _nsys("stats", *how, f"--output={to}", str(report))
    return exported(to)


def base_of(file: Path) -> Path:
    """NAME of the CSV NAME_cuda_gpu_trace.csv, say; UsageError where not all of REPORTS lie there as CSV."""
    for name in REPORTS:
        base = Path(str(file).removesuffix(f"_{name}.csv"))
        if base != file and all(_csv(base, each).exists() for each in REPORTS):
            return base
    hint = f"nsys stats --format=csv --report {','.join(REPORTS)} --output NAME REPORT.nsys-rep"
    raise UsageError(f"{file}: {', '.join(REPORTS)} are needed side by side, as nsys stats writes them", hint)


def exported(base: Path) -> dict[str, str]:
    """The texts of REPORTS, of CSV files that begin with `base`."""
    files = {name: _csv(base, name) for name in REPORTS}
    return {name: file.read_text(errors="replace") if file.exists() else "" for name, file in files.items()}


def _csv(base: Path, name: str) -> Path:
    return base.with_name(f"{base.name}_{name}.csv")


def on_path() -> bool:
    return shutil.which("nsys") is not None


def _nsys(*arguments: str) -> None:
    found = shutil.which("nsys")
    if found is None:
        raise DeviceError("nsys is not on the PATH", _INSTALL)
    try:
        done = subprocess.run([found, *arguments], capture_output=True, text=True, check=False)
    except OSError as error:
        raise DeviceError(f"nsys does not start: {error.strerror}", _INSTALL) from None
    if done.returncode:
        said = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise DeviceError(f"nsys {arguments[0]} failed: {said[-1] if said else 'it says nothing'}", _INSTALL)


def profile(texts: Mapping[str, str], steps: int | None = None) -> Profile:
    """What the reports say. steps: how many were recorded, where no range says so. DeviceError where they are empty."""
    kernels = table(texts[KERNELS], "start", "duration", "corrid", "strm", "name")
    if not kernels:
        raise DeviceError(
            "nsys's report has no kernels",
            "it is of a program that ran none on a GPU, or not between profiler start and stop",
        )
    calls = {call["corrid"]: call for call in table(texts[CALLS], "start", "name", "corrid", "tid")}
    ranges = [
        each | {"name": each["name"].removeprefix(_DOMAIN)}
        for each in table(texts[RANGES], "start", "end", "name", "tid")
        if each["name"].startswith(_DOMAIN)
    ]
    owners = _owners(ranges, list(calls.values()))
    slices = [
        Slice(each["name"], "", each["start"], each["end"] - each["start"], f"thread {each['tid']}") for each in ranges
    ]
    for kernel in kernels:
        number = kernel["corrid"]
        name = owners.get(number) or (GRAPH if "Graph" in calls.get(number, {"name": ""})["name"] else OUTSIDE)
        stream = f"stream {kernel['strm']}"
        slices.append(Slice(name, short(kernel["name"]), kernel["start"], kernel["duration"], stream))
    steps = sum(each["name"] == STEP for each in ranges) or steps or 1
    start, end = min(kernel["start"] for kernel in kernels), max(k["start"] + k["duration"] for k in kernels)
    return Profile(slices, steps, (end - start) / steps)


def _owners(ranges: list[dict], calls: list[dict]) -> dict[str, str]:
    """Correlation number -> the innermost range of its thread in which the call began."""
    begins = sorted([*ranges, *calls], key=lambda each: (each["tid"], each["start"], -each.get("end", 0)))
    owners = {}
    for _, of_thread in groupby(begins, key=lambda each: each["tid"]):
        around: list[dict] = []
        for each in of_thread:
            while around and around[-1]["end"] <= each["start"]:
                around.pop()
            if "end" in each:
                around.append(each)
            elif around:
                owners[each["corrid"]] = around[-1]["name"]
    return owners


def table(text: str, *columns: str) -> list[dict[str, Any]]:
    """The rows below the first line that names all `columns`, as column -> value; times in microseconds.

    What stands before (nsys says what it is doing) and behind is left out; an empty list where there is no such line.
    Columns are told by their lower-case name without the unit, which a time has; numbers may have commas at the
    thousands. DeviceError where a time is no number, or the text no CSV.
    """
    lines = text.splitlines(keepends=True)
    try:
        for number, line in enumerate(lines):
            heads = [_head(cell) for cell in next(csv.reader([line]), [])]
            if {*columns} <= {name for name, _ in heads}:
                return list(_rows(csv.reader(lines[number + 1 :]), heads))
    except csv.Error as error:
        raise DeviceError(f"nsys's report is no CSV: {error}", "export it anew") from None
    return []


def _head(cell: str) -> tuple[str, float | None]:
    """The name of a column, and of times the microseconds in their unit; without a unit, a time has no name."""
    name, _, rest = cell.partition("(")
    name, unit = name.strip().lower(), _UNITS.get(rest.partition(")")[0])
    return (name if unit else "", unit) if name in _TIMES else (name, None)


def _rows(cells: Iterator[list[str]], heads: list[tuple[str, float | None]]) -> Iterator[dict[str, Any]]:
    for row in cells:
        if len(row) != len(heads):
            return
        pairs = zip(heads, row, strict=True)
        yield {name: value if unit is None else unit * _number(value) for (name, unit), value in pairs}


def _number(text: str) -> float:
    with suppress(ValueError):
        if abs(number := float(text.replace(",", ""))) < _LONGEST:
            return number
    raise DeviceError(f"nsys's report has a time that is no number: {shortened(text)}", "export it anew")


def short(name: str) -> str:
    """A kernel's name without what it returns and takes: "void f<int, 2>(float *)" -> "f<int, 2>"."""
    name = re.sub(r"^(void|static)\s+", "", name)
    depth = 0
    for place, letter in enumerate(name):
        depth += (letter == "<") - (letter == ">")
        if letter == "(" and depth == 0 and place:
            return name[:place]
    return name
