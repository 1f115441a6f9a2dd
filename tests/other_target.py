"""Kernels of the CPU compiled for another target: `python other_target.py INDEX MODULE[.FUNCTION] ...`.

INDEX: in target.TARGETS. Each module is checked on the shape table of its op; prints how many cases there were.
"""

import sys

from gpucnn_kernels.cpu import target

target.TARGET = target.TARGETS[int(sys.argv[1])]  # before anything that is made for it is imported

from gpucnn_kernels import cases, check, load  # noqa: E402
from gpucnn_kernels.cpu import simd, winograd, winograd_rows  # noqa: E402


def main() -> None:
    assert target.TARGET.lanes == simd.VECTOR.count
    count = 0
    for text in sys.argv[2:]:
        name, _, function = text.partition(".")
        op, _, impl = name.rpartition("_")
        tried = [case for case in cases.table(op) if not case.long and function in ("", case.function)]
        for verdict in check.check(load(op, impl), tried):
            if verdict.fault:
                sys.exit(f"{target.TARGET.name}: {verdict.case}: {verdict.fault}")
            count += 1
    assert winograd.forward.call and winograd_rows._forward.call, "no convolution went Winograd's way"
    print(count)


if __name__ == "__main__":
    main()
