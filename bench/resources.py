"""What every kernel occupies on each architecture: writes results/resources.json. Needs no GPU.

python bench/resources.py
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gpucnn_kernels.resources import compilers, sources, usage


def main() -> None:
    kernels: dict[str, dict[str, dict[str, Any]]] = {}
    for source in sources():
        rows = kernels.setdefault(str(source), {})
        for arch in source.architectures:
            for kernel, used in usage(source.ptx(arch), arch).items():
                rows.setdefault(kernel, {})[arch] = asdict(used)
    results = Path(__file__).parent / "results" / "resources.json"
    results.write_text(json.dumps({"compilers": compilers(), "kernels": kernels}, indent=1) + "\n")
    print(f"{results}: {sum(map(len, kernels.values()))} kernels")


if __name__ == "__main__":
    main()
