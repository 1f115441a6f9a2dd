"""The tables and the picture of speed on a GPU, from what gpu_all.py measured."""

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from markdown_table import table

RESULTS = Path(__file__).parent / "results"
PICTURE = Path(__file__).parent.parent / "docs" / "gpu-roofline.png"
NOT_YET = "Not measured yet: `make bench-gpu`."
NAMES = {"fp32-ieee": "fp32", "tf32": "tf32", "bf16": "bf16"}
KIND_NAMES = {"tf32x3": "tf32x3 (fp32 by 3xTF32)"}
Record = dict[str, Any]


def found(section: str, folder: Path | None = None) -> Record | None:
    """The record of a section, or None; what the simulator wrote is refused: its times are of no GPU."""
    file = (folder or RESULTS) / f"gpu-{section}.json"
    if not file.exists():
        return None
    return of_a_gpu(json.loads(file.read_text()), str(file))


def of_a_gpu(record: Record, what: str) -> Record:
    if record["device"] != "cuda":
        raise SystemExit(f"{what} was measured on {record['device']}, which is no GPU: it makes no table")
    return record


def gpu_steps() -> str:
    """The best of both sides for each network, batch size and precision."""
    records = [record for name in ("steps", "batches", "compile", "autotune") if (record := found(name))]
    return step_table(*records) if records else NOT_YET


def step_table(*records: Record) -> str:
    heads = ["network", "batch", "precision", "gpucnn", "µs", "images/s", "fastest PyTorch", "µs", "images/s", "factor"]
    heads += ["of PyTorch eager"]
    rows = []
    for row in (row for record in records for row in record["rows"].values()):
        if not row.get("best") or not row.get("best_torch"):
            continue
        subjects, cells = row["subjects"], [row["network"], row["batch"], NAMES[row["mode"]]]
        for name in (row["best"], row["best_torch"]):
            one = subjects[name]
            cells += [_by(name, one), f"{one['us']:,.0f}", f"{one['images_per_second']:,}"]
        tie = ", a tie" if row["tie"] else ""
        cells.append(f"{row['ratio']:.2f}x ({row['ratio_low']:.2f} to {row['ratio_high']:.2f}{tie})")
        eager = [one["us"] for name, one in subjects.items() if name.startswith("torch eager")]
        cells.append(f"{min(eager) / subjects[row['best']]['us']:.2f}x" if eager else "")
        rows.append(cells)
    how = (
        "Medians of five rounds in turns, by the clock of the wall, of forward, loss, backward and SGD with momentum, "
        "with another batch of the GPU's memory at each step; in brackets what the slowest and fastest rounds leave "
        "open. PyTorch is the fastest of eager, a hand-captured CUDA graph of the whole step and torch.compile, "
        "channels first and last, cudnn.benchmark on. fp32 is IEEE in PyTorch, also in convolutions; "
        "tf32 and bf16 (autocast) are asked for by name."
    )
    return "\n\n".join([table(heads, rows), " ".join([how, *_left_out(records), where(records[0])])])


def _by(name: str, one: Record) -> str:
    """How a step was run: its name without whose it is, and whether a graph of it was refused."""
    refused = name.startswith("gpucnn") and not name.endswith("eager") and not one["details"]["graph"]
    return name.partition(" ")[2] + ", no graph" * refused


def all_steps() -> str:
    """Every subject of every group."""
    records = [record for name in ("steps", "batches", "compile", "autotune") if (record := found(name))]
    if not records:
        return NOT_YET
    heads = ["network", "batch", "precision", "step", "µs", "from", "to", "GPU µs", "images/s"]
    rows = []
    for row in (row for record in records for row in record["rows"].values() if "subjects" in row):
        for name, one in sorted(row["subjects"].items(), key=lambda item: item[1]["us"]):
            times = [f"{one[which]:,.0f}" for which in ("us", "us_min", "us_max", "gpu_us")]
            whose = f"{name.partition(' ')[0]} {_by(name, one)}"
            cells = [row["network"], row["batch"], NAMES[row["mode"]], whose, *times]
            rows.append([*cells, f"{one['images_per_second']:,}"])
    return f"{table(heads, rows)}\n\n{where(records[0])}"


def gpu_layers() -> str:
    """Every pass of every layer: each kind of kernels, and PyTorch's fastest in the same precision."""
    record = found("layers")
    return layer_table(record, found("header")) if record else NOT_YET


def layer_table(record: Record, header: Record | None) -> str:
    heads = ["pass", "kernels", "µs", "TFLOP/s", "GB/s", "of the roofline", "PyTorch, µs", "factor"]
    rows = []
    tops = ceilings(header)
    for name, row in record["rows"].items():
        for kind, our in row["ours"].items():
            if "us" not in our:
                continue
            factor = row["ratio"].get(kind)
            theirs = f"{our['us'] * factor:,.1f}" if factor else ""
            share = roofline(row, kind, tops)
            cells = [
                name,
                KIND_NAMES.get(kind, kind),
                f"{our['us']:,.1f}",
                f"{our['tflops']:.3g}",
                f"{our['gbs']:,.0f}",
            ]
            cells += [f"{share / our['us']:.0%}" if share else "", theirs, f"{factor:.2f}x" if factor else ""]
            rows.append(cells)
    how = (
        "Median of a dozen CUDA graphs of at least 20 calls, which take turns with arrays that together are twice the "
        "L2 cache. The roofline is the longer of two times: for the bytes at the speed of a copy, for the arithmetic "
        "at that of PyTorch's product of two matrices of 4096 (fp32: of the multiply-adds of all cores)."
    )
    return "\n\n".join([table(heads, rows), " ".join([how, *_left_out([record]), where(record)])])


def ceilings(header: Record | None) -> dict[str, float]:
    """GB/s of copying as "copy", TFLOP/s by mode; what the header does not know is not there."""
    rows = header["rows"] if header else {}
    tops = {mode: rows[f"gemm {mode}"]["tflops"] for mode in NAMES if f"gemm {mode}" in rows}
    if "tflops_ffma" in rows.get("versions", {}):
        tops["fp32-ieee"] = rows["versions"]["tflops_ffma"]
    return tops | ({"copy": rows["copy"]["gbs"]} if "copy" in rows else {})


def roofline(row: Record, kind: str, tops: dict[str, float]) -> float | None:
    """µs that a pass takes at best, in the precision of `kind`; 3xTF32 makes three products of each."""
    mode = kind if kind in ("tf32", "bf16") else "fp32-ieee"
    if "copy" not in tops or mode not in tops:
        return None
    most = tops["tf32"] / 3 if kind == "tf32x3" and "tf32" in tops else tops[mode]
    return max(1e-3 * row["bytes"] / tops["copy"], 1e-6 * row["flops"] / most)


def gpu_gates() -> str:
    """The worst error of each kind beside PyTorch's, and what did not pass."""
    record = found("gates")
    return gate_table(record) if record else NOT_YET


def gate_table(record: Record) -> str:
    heads, rows = ["kernels", "shapes", "worst error", "PyTorch's there", "same bits twice", "did not pass"], []
    shapes = {name: row for name, row in record["rows"].items() if "kinds" in row}
    for kind in dict.fromkeys(kind for row in shapes.values() for kind in row["kinds"]):
        done = {name: row["kinds"][kind] for name, row in shapes.items() if "errors" in row["kinds"].get(kind, {})}
        if not done:
            continue
        mode = kind if kind in ("tf32", "bf16") else "fp32-ieee"
        error, which, name = max((e, which, n) for n, one in done.items() for which, e in one["errors"].items())
        torch = shapes[name]["torch"]
        theirs = f"{torch[mode][which]:.1e}" if isinstance(torch, dict) else ""
        wrong = [name for name, one in done.items() if not one["passes"]]
        same = sum(one["same_bits"] for one in done.values())
        cells = [KIND_NAMES.get(kind, kind), len(done), f"{error:.1e} ({which} of {name})", theirs]
        rows.append([*cells, f"{same} of {len(done)}", "; ".join(wrong) or "none"])
    losses = [f"{name}: {row['apart_early']:.1e}" for name, row in record["rows"].items() if "apart_early" in row]
    how = "Errors are |error| / |value| against float64, outputs full of NaN before."
    how += f" Losses of the first steps lie apart from PyTorch's by {', '.join(losses)}." if losses else ""
    return "\n\n".join([table(heads, rows), " ".join([how, *_left_out([record]), where(record)])])


def gpu_train() -> str:
    """Accuracy and images a second of both networks with each kind of kernels."""
    record = found("train")
    if not record:
        return NOT_YET
    rows = []
    for run in record["rows"].values():
        accuracies = [f"{run[which]:.1%}" for which in ("test_accuracy", "accuracy_on_cpu")]
        rows.append([run["model"], run["kind"], run["epochs"], *accuracies, f"{run['images_per_second']:,.0f}"])
    heads = ["model", "kernels", "epochs", "test accuracy", "on the CPU", "images/s"]
    return f"{table(heads, rows)}\n\n{where(record)}"


def gpu_race() -> str:
    """Seconds until a test accuracy, of the same recipe on both sides."""
    record = found("race")
    return race_table(record) if record else "Not measured yet: `python bench/time_to_accuracy.py --target 0.8`."


def race_table(record: Record) -> str:
    of_a_gpu(record, "the race")
    rows = []
    for subject in dict.fromkeys(run["subject"] for run in record["runs"]):
        runs = [run for run in record["runs"] if run["subject"] == subject]
        there = [run for run in runs if run["seconds"] is not None]
        seconds = [run["seconds"] for run in there]
        cells = [f"{f(seconds):,.2f}" if seconds else "" for f in (statistics.median, min, max)]
        epochs = sorted({len(run["epochs"]) for run in there})
        cells += [" to ".join(map(str, dict.fromkeys((epochs[0], epochs[-1])))) if epochs else ""]
        rows.append([subject, *cells, f"{len(there)} of {len(runs)}"])
    how = (
        f"Seconds of training with the recipe {record['recipe']} until {record['target']:.1%} of the test pictures are "
        "recognised, a run a seed; without compiling, loading and testing."
    )
    heads = ["", "seconds, median", "least", "most", "epochs", "reached"]
    return f"{table(heads, rows)}\n\n{how} {where(record)}"


def _left_out(records: Any) -> list[str]:
    names = [f"{name} ({why})" for record in records for name, why in record["skipped"].items()]
    names += [
        f"{name}: {one} (no time left)"
        for record in records for name, row in record["rows"].items() for one in row.get("late", ())
    ]  # fmt: skip
    return [f"Left out: {'; '.join(names)}."] if names else []


def where(record: Record) -> str:
    machine = record["machine"]
    names = (("driver", "driver"), ("torch", "PyTorch"), ("cupy", "CuPy"), ("nvrtc", "NVRTC"))
    versions = ", ".join(f"{label} {machine[name]}" for name, label in names if machine.get(name))
    return f"Measured with `make bench-gpu` on {machine['gpu']}: {versions}, commit {machine['commit']}."


def pictures() -> Iterator[tuple[Path, Any]]:
    """(file, figure): the roofline from layers and header, where there are results of a GPU."""
    layers, tops = found("layers"), ceilings(found("header"))
    if layers and "copy" in tops:
        yield PICTURE, picture(layers, tops)


def picture(record: Record, tops: dict[str, float]) -> Any:
    """TFLOP/s over operations a byte: a point for each pass and kind, under the lines of what is possible."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    intensities = [2.0**i for i in range(-1, 12)]
    for mode, label in NAMES.items():
        if mode in tops:
            line = [min(tops[mode], 1e-3 * tops["copy"] * each) for each in intensities]
            axes.plot(intensities, line, label=f"at best, {label}", linewidth=1)
    rows = [row for row in record["rows"].values() if row["flops"]]
    for kind in dict.fromkeys(kind for row in rows for kind in row["ours"]):
        points = [(row["flops"] / row["bytes"], row["ours"][kind]["tflops"]) for row in rows
                  if "us" in row["ours"].get(kind, {})]  # fmt: skip
        axes.plot(*zip(*points, strict=True), "o", markersize=4, label=kind) if points else None
    axes.set(xscale="log", yscale="log", xlabel="operations a byte", ylabel="TFLOP/s", title=record["machine"]["gpu"])
    axes.legend()
    return figure
