"""The tables about kernels: what there is, what it occupies, which mistakes in it are found, how far it rounds."""

import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gpucnn_kernels
from markdown_table import table

KERNELS = Path(__file__).parent.parent / "kernels"
RESULTS = Path(__file__).parent / "results"
KINDS = ("xp", "cpu", "exact", "numba", "raw")
TENSOR_CORES = ("tf32", "tf32x3", "bf16")  # in one column


def ops() -> str:
    """A row for each op: its implementations and papers, all read from the files."""
    rows = []
    for op, implementations in gpucnn_kernels.ops().items():
        files = [f"{op}_{kind}.py" if kind in implementations else "" for kind in KINDS]
        files.append(f"{op}.cu" if (KERNELS / f"{op}.cu").exists() else "")
        links = [f"[{name}]({name})" if name else "" for name in files]
        links.append(", ".join(f"[{kind}]({op}_{kind}.py)" for kind in TENSOR_CORES if kind in implementations))
        text = "\n".join((KERNELS / name).read_text() for name in files if name)
        papers = ", ".join(dict.fromkeys(f"[{name}]({url})" if url else name for name, url in _papers(text)))
        rows.append([op, *links, papers])
    return table(["op", *(f"`{kind}`" for kind in KINDS), "CUDA C", "tensor cores", "from"], rows)


def _papers(text: str) -> Iterator[tuple[str, str]]:
    authors = r"[A-Z]\w+(?:(?:, [A-Z]\w+)* and [A-Z]\w+| et al\.)"
    for match in re.finditer(
        rf'({authors}),?(?: "[^"]+",)?(?: SC)? (\d{{4}})(?:,\s+(?://\s+)?\S*?(\d{{4}}\.\d{{5}}|\d{{4}}\.\d{{4}}))?',
        text,
    ):
        yield f"{match[1]} {match[2]}", f"https://arxiv.org/abs/{match[3]}" if match[3] else ""


def resources() -> str:
    """A row for each kernel: what it does, and its registers and shared memory in both languages."""
    record = json.loads((RESULTS / "resources.json").read_text())
    figures: dict[str, dict[bool, list[dict[str, Any]]]] = {}
    for source, kernels in record["kernels"].items():
        for kernel, by_arch in kernels.items():
            figures.setdefault(kernel, {True: [], False: []})["_numba." in source].append(by_arch)
    heads = ["kernel", "what a thread or block does", "CUDA C: registers", "shared bytes", "Numba: registers"]
    rows = []
    ideas = dict(_ideas())
    for kernel in sorted(figures):
        cells = [cell for numba in (False, True) for cell in _cells(figures[kernel][numba])]
        rows.append([kernel, ideas.get(kernel, ""), *cells])
    every = [used for both in figures.values() for kind in both.values() for one in kind for used in one.values()]
    spilled = sum(used["spills"] > 0 or used["stack"] > 0 for used in every)
    compilers = ", ".join(f"{name} {version}" for name, version in record["compilers"].items())
    archs = ", ".join(next(iter(next(iter(record["kernels"].values())).values())))
    how = (
        f"Registers of a thread on {archs}, over all variants of a kernel; {spilled} of the "
        f"{len(every)} compilations spill registers or keep arrays in local memory. "
        f"Measured with `python bench/resources.py`: {compilers}."
    )
    return f"{table([*heads, 'shared bytes'], rows)}\n\n{how}"


def _cells(variants: list[dict[str, Any]]) -> tuple[str, str]:
    if not variants:
        return "", ""
    registers = [_range([variant[arch]["registers"] for variant in variants]) for arch in variants[0]]
    return ", ".join(registers), _range([used["shared"] for variant in variants for used in variant.values()])


def _range(values: list[int]) -> str:
    return f"{min(values)}" if min(values) == max(values) else f"{min(values)} to {max(values)}"


def _ideas() -> Iterator[tuple[str, str]]:
    """The first sentence of the comment above each kernel of CUDA C."""
    kernel = re.compile(
        r'((?:^//[^\n]*\n)+)(?:#[^\n]*\n|\n)*extern "C" __global__ void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\(',
        re.MULTILINE,
    )
    for file in KERNELS.glob("*.cu"):
        for match in kernel.finditer(file.read_text()):
            comment = " ".join(line.removeprefix("//").strip() for line in match[1].splitlines())
            yield match[2], re.split(r"(?<=[^.][.])\s", comment.replace("|", "\\|"))[0]


def mutations() -> str:
    """A row for each kernel: its mutants, and what found them; then every survivor with its reason."""
    record = json.loads((RESULTS / "mutations.json").read_text())["files"]
    reasons = tomllib.loads((Path(__file__).parent / "survivors.toml").read_text())["reason"]
    rows, survivors = [], []
    total: Counter[str] = Counter()
    for file, functions in record.items():
        for function, found in sorted(functions.items()):
            counts = sum((Counter(kind) for kind in found["kinds"].values()), Counter())
            total += counts
            by = ", ".join(f"{how} {count}" for how, count in Counter(found["killed by"]).most_common())
            alive = counts["killed"] + counts["survived"]
            verdicts = (counts[verdict] for verdict in ("killed", "survived", "equivalent"))
            rows.append([file, function, alive + counts["equivalent"], *verdicts, by])
            for row in found["survivors"]:
                why = next((r["why"] for r in reasons if row["after"] in r["after"]), "no reason known")
                survivors.append(
                    f"- {file}, {function}, {row['kind']}: `{row['before']}` became `{row['after']}`: {why}"
                )
    alive = total["killed"] + total["survived"]
    line = (
        f"{total['killed']} of {alive} mutants are killed; {total['equivalent']} more compile to the same machine "
        f"code, {total['stillborn']} do not compile. The survivors:"
    )
    heads = ["file", "function", "mutants", "killed", "survived", "the same code", "found by"]
    return "\n\n".join([table(heads, rows), line, "\n".join(survivors)])


def cpu_errors() -> str:
    """A row for each result of each convolution: its errors with Winograd, without, and in PyTorch."""
    record = json.loads((RESULTS / "cpu-errors.json").read_text())
    names = {"cpu": "`cpu`", "exact": "`exact`", "torch": "PyTorch, NCHW"}
    kinds = [kind for kind in names if kind in record["rows"][0]["errors"]]
    rows = []
    for row in record["rows"]:
        image, window = ("x".join(map(str, each)) for each in (row["x"][1:], row["w"][2:]))
        shape = f"{image} to {row['w'][0]}, {window}"
        for result in ("y", "gx", "gw"):
            cells = [" / ".join(f"{value:.1e}" for value in row["errors"][kind][result]) for kind in kinds]
            rows.append([shape if result == "y" else "", result, *cells])
    machine = record["machine"]
    versions = f"NumPy {machine['numpy']}" + (f", PyTorch {machine['torch']}" if "torch" in machine else "")
    how = (
        "Largest error over largest value / length of the error over length of the result, against float64; batch "
        f"{record['rows'][0]['x'][0]}, normally distributed numbers. Measured with `python bench/cpu_errors.py` on "
        f"{machine['cpu']}, {versions}."
    )
    return f"{table(['convolution', 'result', *(names[kind] for kind in kinds)], rows)}\n\n{how}"


def excerpt(file: str, start: str, end: str) -> str:
    """The lines of a file of kernels from the first one with `start` through the next one that is `end`, in a fence."""
    lines = (KERNELS / file).read_text().splitlines()
    first = next(number for number, line in enumerate(lines) if start in line)
    last = next(number for number, line in enumerate(lines[first:], first) if line.startswith(end) and number > first)
    language = "python" if file.endswith(".py") else "cuda"
    return "\n".join([f"```{language}", *lines[first : last + 1], "```"])


def ladder() -> str:
    """A row for each rung of conv2d.cu and its twin: what it occupies, and what it asks of the memory."""
    record = json.loads((RESULTS / "ladder.json").read_text())
    used = json.loads((RESULTS / "resources.json").read_text())["kernels"]
    of_warps = record["multiply_adds"] / 32
    heads = ("rung", "", "registers", "shared bytes", "global loads a multiply-add", "bytes a multiply-add")
    heads += ("shared loads a multiply-add", "rounds a request")
    rows = []
    for rung in record["rungs"]:
        sources = [name for name in used if name.startswith(f"conv2d{'.cu' if rung['impl'] == 'raw' else '_numba'}")]
        one = next(used[name][rung["kernel"]] for name in sources if rung["kernel"] in used[name] and _tile(name))
        shared = rung["shared"]
        requests = shared["loads"] + shared["stores"]
        bytes_of_shared = one["sm_90"]["shared"] or rung["dynamic"]
        cells = [rung["rung"], "CUDA C" if rung["impl"] == "raw" else "Numba", str(one["sm_90"]["registers"])]
        cells += [f"{bytes_of_shared:,}", f"{rung['global']['loads'] / of_warps:.3f}"]
        cells += [f"{rung['global']['sectors'] / of_warps:.2f}", f"{shared['loads'] / of_warps:.3f}"]
        cells += [f"{shared['rounds'] / requests:.2f}" if requests else ""]
        rows.append(cells)
    compilers = ", ".join(f"{name} {version}" for name, version in record["compilers"].items())
    how = (
        f"x {record['shape']}: {record['multiply_adds']:,} multiply-adds. Registers and shared memory by ptxas for "
        "sm_90; requests of warps, sectors of 32 bytes and rounds counted on the simulator from the PTX. "
        f"Counted with `python bench/ladder.py`: {compilers}."
    )
    return f"{table(heads, rows)}\n\n{how}"


def _tile(source: str) -> bool:
    """Whether it is compiled for blocks of as many channels as the ladder's convolution has, or for any."""
    return "TILE_C" not in source or "TILE_C=32" in source
