"""Everything about gpucnn's speed on one NVIDIA GPU, beside PyTorch's: writes results/gpu-SECTION.json.

python bench/gpu_all.py                                  the first plan, within nine minutes
python bench/gpu_all.py --section batches --budget 300   a later section; what was measured before is kept
python bench/gpu_all.py --device sim --tiny --output FOLDER    a rehearsal on the simulator; its times mean nothing

Each section is a process of its own, so that a kernel that fails takes only its section along, and writes each row as
soon as it is measured. A second call measures what is missing: a row counts as long as the code, the GPU and the
options are those of the row. What was skipped, and why, stands in the output and in the file.
"""

import argparse
import json
import subprocess
import sys
import time
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from machine import smi

HERE = Path(__file__).parent
RESULTS = HERE / "results"
# The sections with their shares of the time, and those of the first plan. What one does not use is the next one's.
SHARES = {
    "header": 40, "gates": 90, "layers": 130, "steps": 280,
    "batches": 300, "compile": 240, "autotune": 540, "profile": 60, "train": 540,
}  # fmt: skip
FIRST_PLAN = ("header", "gates", "layers", "steps")
GRACE = 20.0  # seconds in which a section may end the row that it is at


def identity(options: Any) -> dict[str, Any]:
    """What must be the same for a row to count: the GPU, the options and the code that ran."""
    files = [file for folder in ("gpucnn", "kernels") for file in (HERE.parent / folder).rglob("*")]
    code = sha256()
    for file in sorted([*files, *HERE.glob("gpu_*.py")]):
        if file.name not in ("gpu_all.py", "gpu_tables.py") and file.suffix in (".py", ".cu", ".cuh", ".h", ".cpp"):
            code.update(file.read_bytes())
    gpu = smi("name").get("name", "") if options.device == "cuda" else ""
    return {"code": code.hexdigest()[:16], "gpu": gpu, "device": options.device, "tiny": options.tiny}


def read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text()) if file.exists() else {}


def run(section: str, seconds: float, options: Any, who: dict[str, Any]) -> dict[str, Any]:
    """Let a process measure `section`; what its file then says."""
    file = options.output / f"gpu-{section}.json"
    job = {"section": section, "seconds": seconds, "file": str(file), "identity": who, "again": options.again}
    job |= {"device": options.device, "tiny": options.tiny, "data_path": options.data_path}
    command = [sys.executable, str(HERE / "gpu_section.py"), json.dumps(job)]
    fault = ""
    try:
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, timeout=seconds + GRACE)
        if done.returncode:
            sys.stderr.write(done.stderr)
            lines = done.stderr.strip().splitlines() or [""]
            fault = f"ended with status {done.returncode}: {lines[-1]}"
    except subprocess.TimeoutExpired:
        fault = f"stopped after {seconds + GRACE:.0f} s"
    record = read(file)
    if not fault:
        return record
    if record.get("identity") != who:  # it wrote nothing
        return {"skipped": {}, "fault": fault}
    record |= {"complete": False, "fault": fault}
    file.write_text(json.dumps(record, indent=1) + "\n")
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--section", nargs="+", choices=SHARES, default=FIRST_PLAN, metavar="NAME",
                        help=f"of {', '.join(SHARES)}; by default {', '.join(FIRST_PLAN)}")  # fmt: skip
    parser.add_argument("--budget", type=float, default=540.0, help="seconds for all of them together")
    parser.add_argument("--device", choices=("cuda", "sim"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="the smallest shapes and fewest steps")
    parser.add_argument("--again", action="store_true", help="measure also what was measured before")
    parser.add_argument("--data-path", help="where CIFAR-10 lies, for the section train")
    parser.add_argument("--output", type=Path, help="a folder, other than results")
    options = parser.parse_args()
    if options.device == "sim" and options.output is None:
        parser.error("--device sim measures no GPU: give it an --output of its own")
    if options.device == "cuda" and not find_spec("cupy"):
        parser.error(f"{sys.executable} has no CuPy: make bench-gpu PYTHON=one that has, or --device sim --tiny")
    options.output = options.output or RESULTS
    options.output.mkdir(parents=True, exist_ok=True)
    who, deadline = identity(options), time.monotonic() + options.budget
    before = {name: read(options.output / f"gpu-{name}.json") for name in options.section}
    done = {n for n, r in before.items() if not options.again and r.get("identity") == who and r.get("complete")}
    waiting, wrong = [name for name in options.section if name not in done], False
    for name in options.section:
        if name in done:
            print(f"{name}: measured before", flush=True)
            continue
        left = deadline - time.monotonic()
        seconds = left * SHARES[name] / sum(SHARES[later] for later in waiting)
        waiting.remove(name)
        if left <= 0:
            print(f"{name}: skipped: no time left", flush=True)
            continue
        record = run(name, seconds, options, who)
        for row, why in record["skipped"].items():
            print(f"{name}: {row}: skipped: {why}")
        if fault := record.get("fault") or record.get("failed"):
            print(f"{name}: {fault}")
            wrong = True
    sys.exit(wrong)


if __name__ == "__main__":
    main()
