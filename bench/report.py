"""Write every generated table, between its markers, from results/*.json.

python bench/report.py          rewrite the tables, and the picture of the GPU's roofline
python bench/report.py --check  exit 1 where a table or the picture differs from its results
"""

import json
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

from claims_table import accuracy, claims, claims_count, claims_runs
from cpu_tables import cpu_shapes, cpu_step
from failure_table import failures
from gpu_tables import all_steps, gpu_gates, gpu_layers, gpu_race, gpu_steps, gpu_train, pictures
from kernel_tables import cpu_errors, excerpt, ladder, mutations, ops, resources
from markdown_table import table
from scaling_table import scaling

ROOT = Path(__file__).parent.parent
FILES = ("README.md", *sorted(f"docs/{file.name}" for file in (ROOT / "docs").glob("*.md")), "kernels/README.md")


def load(name: str) -> Any:
    return json.loads((ROOT / "bench" / "results" / f"{name}.json").read_text())


def beside_torch() -> str:
    """Recipe, epochs, and of both sides accuracy, seconds, images a second: one row a file beside-torch-*.json."""
    files = sorted((ROOT / "bench" / "results").glob("beside-torch-*.json"))
    if not files:
        return "Not measured yet: `python bench/accuracy_torch.py`."
    return torch_table([json.loads(file.read_text()) for file in files])


def torch_table(records: list[Any]) -> str:
    heads = ["model", "optimizer, top rate", "batch", "epochs"]
    heads += [head for what in ("test accuracy", "seconds", "images/s") for head in (what, "PyTorch")]
    rows = []
    for record in records:
        recipe, sides = record["recipe"], [record["gpucnn"], record["torch"]]
        cells = [
            record["model"],
            f"{recipe['optimizer']} {recipe['lr']:g}",
            recipe["batch_size"],
            len(sides[0]),
        ]
        cells += [f"{epochs[-1]['test_accuracy']:.1%}" for epochs in sides]
        cells += [f"{epochs[-1]['seconds']:,.0f}" for epochs in sides]
        cells += [f"{record['images'] * len(epochs) / epochs[-1]['seconds']:,.0f}" for epochs in sides]
        rows.append(cells)
    where = sorted({f"{r['machine']['cpu']}, PyTorch {r['machine']['torch']}" for r in records})
    how = "One seed and one thread each, PyTorch eager and channels last; seconds of the processor, without the tests."
    measured = f"Measured with `python bench/accuracy_torch.py` on {' and '.join(where)}."
    return f"{table(heads, rows)}\n\n{how} {measured}"


def tape() -> str:
    """What the tape costs."""
    record = load("tape")
    times = (f"{record[which]:.0f} µs" for which in ("us_per_step", "us_min", "us_max"))
    found = table(("Functions", "forward and backward", "from", "to"), [(record["functions"], *times)])
    return f"{found}\n\nMeasured with `python bench/tape.py` on {record['machine']['cpu']}."


def ranges() -> str:
    """What named ranges cost a step, unheard and timed."""
    record = load("ranges")
    rows = [
        (what, f"{one['median']:.2%}", f"{one['low']:.2%} to {one['high']:.2%}")
        for what, one in (("nobody listens", record["unheard"]), ("a clock around each", record["timed"]))
    ]
    how = (
        f"Of a step ({record['step']}) with {record['ranges']} ranges, each of {record['ns_unheard']['median']:.0f} ns "
        f"where nobody listens; quartiles. Measured with `python bench/ranges.py` on {record['machine']['cpu']}."
    )
    return f"{table(('', 'share of a step', 'half of the rounds'), rows)}\n\n{how}"


def fuzz() -> str:
    """A row for each reader: files, seeds, what became of them, branches, memory, and what was found."""
    if not (ROOT / "bench" / "results" / "fuzz.json").exists():
        return "Not measured yet: `make test-fuzz`."
    record = load("fuzz")
    heads = ["reader of", "damaged files", "seeds", "read", "refused", "branches taken", "most memory"]
    rows = []
    for name, row in record["readers"].items():
        taken = f"{row['taken']} of {row['branches']} ({row['taken'] / row['branches']:.0%})"
        counts = [f"{count:,}" for count in (row["read"], row["files"] - row["read"])]
        cells = [name, f"{row['files']:,}", f"{row['seeds'][0]} to {row['seeds'][-1]}", *counts, taken]
        rows.append([*cells, f"{row['peak_mb']} MB", "; ".join(row["found"]) or "-"])
    found = table([*heads, "found and mended"], rows)
    return f"{found}\n\nMeasured with `make test-fuzz` on {record['machine']['cpu']}."


BLOCKS = {
    "accuracy": accuracy,
    "claims": claims,
    "claims_count": claims_count,
    "claims_runs": claims_runs,
    "beside_torch": beside_torch,
    "tape": tape,
    "ranges": ranges,
    "failures": failures,
    "fuzz": fuzz,
    "ops": ops,
    "resources": resources,
    "mutations": mutations,
    "ladder": ladder,
    "conv2d_naive": partial(excerpt, "conv2d.cu", "void conv2d_forward_naive(", "}"),
    "conv2d_naive_numba": partial(excerpt, "conv2d_numba.py", "def conv2d_forward_naive(", "    y["),
    "conv2d_tiled": partial(excerpt, "conv2d.cu", "void __launch_bounds__(SIDE * SIDE) conv2d_forward_tiled(", "}"),
    "conv2d_multiply": partial(excerpt, "conv2d.cu", "template <int REG, int STEPS, int WIDTH>", "}"),
    "gpu_steps": gpu_steps,
    "gpu_all_steps": all_steps,
    "gpu_layers": gpu_layers,
    "gpu_gates": gpu_gates,
    "gpu_train": gpu_train,
    "gpu_race": gpu_race,
    "cpu_step": cpu_step,
    "cpu_shapes": cpu_shapes,
    "cpu_errors": cpu_errors,
    "scaling": scaling,
}


def differs(picture: Path, content: bytes) -> bool:
    """Whether a picture is not `content`, byte for byte. One that another matplotlib drew is not compared."""
    before = picture.read_bytes() if picture.exists() else b""
    drawn_by = re.search(rb"Matplotlib version[\d.]+", before)
    if drawn_by and drawn_by[0] not in content:
        print(f"{picture.name}: not compared, it was drawn by {drawn_by[0].decode()}")
        return False
    return before != content


def main() -> None:
    check = sys.argv[1:] == ["--check"]
    stale = []
    for path, figure in pictures():  # there are none without results of a GPU, nor is matplotlib needed then
        from gpucnn.cli.drawings import encoded

        content = encoded(figure, "png")
        if differs(path, content):
            stale.append(path.name)
            if not check:
                path.write_bytes(content)
    for name in FILES:
        path = ROOT / name
        before = path.read_text()
        after = re.sub(
            r"(<!-- (\w+): generated by bench/report.py -->\n).*?(<!-- end -->)",
            lambda match: f"{match[1]}{BLOCKS[match[2]]()}\n{match[3]}",
            before,
            flags=re.DOTALL,
        )
        if after != before:
            stale.append(name)
            if not check:
                path.write_text(after)
    print(f"{'stale' if check else 'rewritten'}: {', '.join(stale) or 'nothing'}")
    sys.exit(bool(check and stale))


if __name__ == "__main__":
    main()
