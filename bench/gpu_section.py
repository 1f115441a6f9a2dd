"""One section in a process of its own, which gpu_all.py starts: python bench/gpu_section.py JOB, as JSON.

A section is a function of a Job: it asks `todo` for the rows that are missing and hands each to `measure`.
"""

import importlib
import json
import sys
from pathlib import Path

from gpu_job import Job

SECTIONS = {
    "header": ("gpu_header", "header"),
    "gates": ("gpu_gates", "gates"),
    "layers": ("gpu_layers", "layers"),
    "steps": ("gpu_steps", "steps"),
    "batches": ("gpu_steps", "batches"),
    "compile": ("gpu_steps", "compiled"),
    "autotune": ("gpu_steps", "autotuned"),
    "profile": ("gpu_profile", "profile"),
    "train": ("gpu_train", "train"),
}


def main() -> None:
    options = json.loads(sys.argv[1])
    section, who = options.pop("section"), options.pop("identity")
    job = Job(section, Path(options.pop("file")), who, options.pop("seconds"), **options)
    module, function = SECTIONS[section]
    getattr(importlib.import_module(module), function)(job)
    job.end()


if __name__ == "__main__":
    main()
