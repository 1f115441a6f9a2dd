"""The tables of speed on the CPU, from what cpu_step.py measured."""

import json
from pathlib import Path
from typing import Any

from markdown_table import table

RESULTS = Path(__file__).parent / "results"
NOT_YET = "Not measured yet: `make bench-cpu`."
COLUMNS = {
    "gpucnn": "gpucnn",
    "gpucnn-no-fuse": "`--no-fuse`",
    "gpucnn-no-graph": "`--no-graph`",
    "gpucnn-exact": "`--kernels exact`",
    "torch": "PyTorch",
    "torch-channels-last": "channels_last",
    "torch-tuned": "PyTorch, malloc tuned",
    "torch-channels-last-tuned": "channels_last, malloc tuned",
    "torch-compile": "torch.compile",
    "numpy-nhwc": "NumPy, channels last",
    "numpy-im2col": "NumPy, im2col",
}


def cpu_step() -> str:
    """Milliseconds a training step and an eval step, images a second, and the ratio to the best of PyTorch."""
    files = [RESULTS / f"cpu-step-{network}.json" for network in ("lenet", "alexnet-lite")]
    records = [json.loads(file.read_text()) for file in files if file.exists()]
    return step_tables(*records) if records else NOT_YET


def cpu_shapes() -> str:
    """Milliseconds of every op alone, forward and backward."""
    file = RESULTS / "cpu-shapes.json"
    return shape_table(json.loads(file.read_text())) if file.exists() else NOT_YET


def step_tables(*records: dict[str, Any]) -> str:
    """A row a network, batch and number of threads; a column for each subject that was measured somewhere."""
    runs = [run for record in records for run in record["runs"]]
    names = [name for name in COLUMNS if any(name in run["subjects"] for run in runs)]
    parts = [_steps(runs, names, part, title) for part, title in (("step", "training step"), ("eval", "eval step"))]
    others = max((max(one["others"]) for run in runs for one in run["subjects"].values()), default=0.0)
    ours = [run["subjects"]["gpucnn"] for run in runs if "gpucnn" in run["subjects"]]
    kernels = " and ".join(sorted({f"`{one['details']['kernels']}`" for one in ours}))
    rounds = " or ".join(map(str, sorted({record["rounds"] for record in records})))
    how = (
        f"Median milliseconds of {rounds} rounds, each measurement a process of its own, in turns; in "
        "brackets what the slowest and the fastest round leave open. The factor is the time of the fastest eager "
        "PyTorch of the row over gpucnn's. With malloc tuned, glibc keeps freed memory, and no step meets fresh pages. "
        f"Images a second are those of gpucnn with shuffled, cropped and flipped batches. "
        f"Kernels of gpucnn: {kernels}. Others used at most {others:.2f} cores meanwhile."
    )
    return "\n\n".join([*parts, " ".join([how, *_starts(runs), *dict.fromkeys(map(_where, records))])])


def _starts(runs: list[dict[str, Any]]) -> list[str]:
    """Whether the cores were near each other while gpucnn was measured on more than one thread."""
    ours = [run["subjects"]["gpucnn"] for run in runs if run["threads"] > 1 and "gpucnn" in run["subjects"]]
    starts = [max(pair) for one in ours for pair in one.get("start_us", ())]
    if not starts:
        return []  # results from before it was measured, or of one thread
    slow = sum(start > 1.5 * min(starts) for start in starts)
    return [
        f"On more than one thread an empty kernel took {min(starts):.1f} to {max(starts):.1f} µs, and in {slow} of "
        f"{len(starts)} measurements of gpucnn over half as long again as at best, as if the cores shared no cache."
    ]


def _steps(runs: list[dict[str, Any]], names: list[str], part: str, title: str) -> str:
    epoch = part == "step" and any("epoch" in run["subjects"].get("gpucnn", {}) for run in runs)
    heads = [title, "batch", "threads", *(COLUMNS[name] for name in names), "gpucnn is faster"]
    heads += ["images/s"] * epoch
    rows = []
    for run in runs:
        found = run["subjects"]
        cells = [run["network"], run["batch"], run["threads"]]
        cells += [_ms(found[name][part]["ms"]) if name in found else "" for name in names]
        cells.append(_factor(run["ratio"][part]))
        if epoch:
            one = found.get("gpucnn", {}).get("epoch")
            cells.append(f"{one['images_per_second']:,.0f}" if one else "")
        rows.append(cells)
    return table(heads, rows)


def _ms(ms: float) -> str:
    """Three digits: 0.00812, 2.36, 129, 1,340."""
    digits = 0 if ms >= 100 else 1 if ms >= 10 else 2 if ms >= 1 else 3 if ms >= 0.1 else 4
    return f"{ms:,.{digits}f}"


def _factor(found: dict[str, Any] | None) -> str:
    return f"{found['ratio']:.2f}x ({found['low']:.2f} to {found['high']:.2f})" if found else ""


def shape_table(record: dict[str, Any]) -> str:
    """A row an op; for each number of threads both times and their ratio."""
    sizes = sorted({(run["batch"], run["threads"]) for run in record["runs"]})
    heads = ["op", "in"]
    for batch, threads in sizes:
        heads += [f"gpucnn, batch {batch}, {threads} thread{'s' * (threads > 1)}", "PyTorch", "gpucnn is faster"]
    rows = []
    for op in dict.fromkeys(run["op"] for run in record["runs"]):
        found = {(run["batch"], run["threads"]): run for run in record["runs"] if run["op"] == op}
        cells = [op, ", ".join(next(iter(found.values()))["networks"])]
        for size in sizes:
            run = found.get(size)
            both = [_ms(run[name]["both"]["ms"]) for name in ("gpucnn", "torch")] if run else ["", ""]
            cells += [*both, f"{run['ratio']:.2f}x" if run else ""]
        rows.append(cells)
    how = (
        f"Median milliseconds of {record['rounds']} rounds, forward and backward, each op alone and through the tape, "
        "also where the networks run it fused with what follows; no gx: the gradient of the input is not wanted."
    )
    return f"{table(heads, rows)}\n\n{how} {_where(record)}"


def _where(record: dict[str, Any]) -> str:
    machine = record["machine"]
    vectors = next((name for name in ("avx512f", "avx2", "asimd") if name in machine["isa"]), "")
    cpu = f"{machine['cpu']} ({vectors.upper()})" if vectors else machine["cpu"]
    versions = ", ".join(
        f"{label} {machine[name]}"
        for name, label in (("torch", "PyTorch"), ("numpy", "NumPy"), ("numba", "Numba"))
        if machine.get(name)
    )
    return f"Measured with `make bench-cpu` on {cpu}: {versions}, {machine['blas']}, commit {machine['commit']}."
