"""What the tape itself costs a LeNet training step: its thirteen Functions with the arithmetic taken out.

python bench/tape.py     writes results/tape.json
"""

import json
import statistics
import time
from pathlib import Path

import numpy as np
from machine import describe

import gpucnn as g
from gpucnn.backend import Array

REPEATS, STEPS = 21, 500


class Layer(g.Function):
    """Hands a stored array on, and stored gradients back."""

    def forward(self, x: Array, *parameters: Array) -> Array:
        self.gradients = (x, *parameters)
        return x

    def backward(self, gy: Array) -> tuple:
        return self.gradients


def step(x: g.Tensor, parameters: list[tuple[g.Parameter, ...]]) -> None:
    """Forward and backward through as many Functions, with as many inputs, as LeNet and its loss have."""
    for layer in parameters:
        x = Layer.apply(x, *layer)
    x.backward(x.data)
    for layer in parameters:
        for p in layer:
            p.grad = None


def main() -> None:
    def pair() -> tuple[g.Parameter, ...]:
        return g.Parameter(np.ones(1, np.float32)), g.Parameter(np.ones(1, np.float32))

    conv = [pair(), (), ()]  # convolution or linear, then ReLU, then pooling
    parameters = [*conv, pair(), (), (), (), pair(), (), pair(), (), pair(), ()]  # flatten and loss included
    x = g.Tensor(np.ones(1, np.float32))
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        for _ in range(STEPS):
            step(x, parameters)
        times.append((time.perf_counter() - started) / STEPS * 1e6)
    record = {
        "functions": len(parameters),
        "us_per_step": statistics.median(times),
        "us_min": min(times),
        "us_max": max(times),
        "machine": describe(),
    }
    path = Path(__file__).parent / "results" / "tape.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(f"{record['functions']} Functions: {record['us_per_step']:.1f} us a step, forward and backward")


if __name__ == "__main__":
    main()
