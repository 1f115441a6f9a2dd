"""Gives damaged files to every reader of what somebody else has written; writes results/fuzz.json.

python bench/fuzz.py                 all: half an hour of one core
python bench/fuzz.py pictures        one reader, kept beside the results of the others

The files, the readers and what a reader may not do are those of tests/fuzz_readers.py. Each round of 500 files has a
seed of its own; the round of seed 0 is part of every run of the tests. Ends with 1 where less than 95 % of the
branches of a reader were taken.
"""

import argparse
import json
import re
import sys
import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import coverage
from machine import describe

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench" / "results" / "fuzz.json"
sys.path.insert(0, str(ROOT / "tests"))

from fuzz_readers import READERS, Reader, fuzz  # noqa: E402

A_ROUND, ENOUGH = 500, 0.95
TRACED = 8  # rounds whose branches are looked at, which makes them twice as long


def run(reader: Reader, rounds: int) -> dict[str, Any]:
    """What came of `rounds` rounds: outcomes, branches taken and missed, seconds, the most memory above the start."""
    cover = coverage.Coverage(
        data_file=None, branch=True, config_file=False, include=[str(ROOT / f) for f in reader.functions]
    )
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before, begin, outcomes = status("VmRSS"), time.monotonic(), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(rounds):
            with cover.collect() if seed < TRACED else nullcontext():
                outcomes += fuzz(reader, Path(folder), seed, A_ROUND)
    with tempfile.NamedTemporaryFile() as file:
        cover.json_report(outfile=file.name)
        covered = json.loads(Path(file.name).read_text())["files"]
    parts = [covered[file]["functions"][name] for file, names in reader.functions.items() for name in names]
    return {
        "files": outcomes.total(),
        "seeds": list(range(rounds)),
        "read": outcomes["read"],
        "branches": sum(part["summary"]["num_branches"] for part in parts),
        "taken": sum(part["summary"]["covered_branches"] for part in parts),
        "missing": {
            f"{file}:{name}": covered[file]["functions"][name]["missing_branches"]
            for file, names in reader.functions.items()
            for name in names
            if covered[file]["functions"][name]["missing_branches"]
        },
        "found": list(reader.found),
        "seconds": round(time.monotonic() - begin),
        "peak_mb": round((status("VmHWM") - before) / 1024),
    }


def status(what: str) -> int:
    """A figure in kB that Linux keeps of this process."""
    return int(re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1])  # type: ignore[index]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="READER", help=", ".join(READERS))
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    record = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"readers": {}}
    record["machine"] = describe()
    record["readers"] = {name: row for name, row in record["readers"].items() if name in READERS}
    few = []
    for name in options.names or READERS:
        result = record["readers"][name] = run(READERS[name], options.rounds)
        print(name, {key: value for key, value in result.items() if key != "seeds"}, flush=True)
        few += [name] if result["taken"] < ENOUGH * result["branches"] else []
        RESULTS.write_text(json.dumps(record, indent=1) + "\n")
    if few:
        sys.exit(f"less than {ENOUGH:.0%} of the branches were taken: {', '.join(few)}")


if __name__ == "__main__":
    main()
