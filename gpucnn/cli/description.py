"""What stands beside the weights of a model, and is needed to build it again and feed it."""

from collections.abc import Mapping
from typing import Any

from ..errors import shortened

MOST_VALUES = 1 << 24  # in a picture


def check_description(meta: Mapping[str, Any]) -> None:
    """ValueError where what stands beside the weights of a model is not whole, or is not what it must be."""
    channels, *size = meta["input_shape"] if _numbers(meta.get("input_shape"), 3, int) else (0, 0, 0)
    white, epoch, classes = meta.get("white"), meta.get("epoch"), meta.get("classes")
    right = {
        "model": isinstance(meta.get("model"), str),
        "input_shape": min(channels, *size) > 0 and channels * size[0] * size[1] <= MOST_VALUES,
        "image_size": _numbers(meta.get("image_size"), 2, int)
        and all(0 < a <= b for a, b in zip(meta["image_size"], size, strict=True)),
        "white": type(white) is int and 0 < white < 256,
        "classes": isinstance(classes, list) and all(isinstance(label, str) for label in classes),
        "mean": _numbers(meta.get("mean"), channels, int, float),
        "std": _numbers(meta.get("std"), channels, int, float) and all(value > 0 for value in meta["std"]),
        "dataset": isinstance(meta.get("dataset"), str),
        "data_path": isinstance(meta.get("data_path"), str | None),
        "epoch": type(epoch) is int and epoch >= 0,
    }
    for name, fine in right.items():
        if not fine:
            raise ValueError(f"its {name} is {shortened(meta.get(name))}")


def _numbers(values: Any, count: int, *kinds: type) -> bool:
    """Whether `values` is a list of so many numbers, none of them not finite, or beyond all reason."""
    return isinstance(values, list) and len(values) == count and all(type(v) in kinds and abs(v) < 1e6 for v in values)
