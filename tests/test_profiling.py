"""Ranges: who names what, that nobody pays for them unheard, and that they end whatever happens."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gpucnn_kernels.sim.compiler import find_compiler
from pretended_tools import NVTX

import gpucnn as g
import gpucnn.functional as F
from gpucnn import Device
from gpucnn.models import MODELS
from gpucnn.profiling import NOTHING, Listener, annotate, in_layer, in_pass, listening


class Heard(Listener):
    """Writes down (depth, name, kernel)."""

    def __init__(self):
        super().__init__()
        self.ranges, self.depth = [], 0

    def push(self, name, kernel):
        self.ranges.append((self.depth, name, kernel))
        self.depth += 1

    def pop(self):
        self.depth -= 1

    def innermost(self):
        """(name, kernel) of the ranges with none inside."""
        after = [*self.ranges[1:], (0, "", "")]
        return [one[1:] for one, next_ in zip(self.ranges, after, strict=True) if next_[0] <= one[0]]


def step(model, device):
    x = g.Tensor(np.ones((4, 1, 8, 8), np.float32), device=device)
    F.cross_entropy(model(x), np.arange(4)).backward()


def heard(model, device):
    with listening(listener := Heard()):
        step(model, device)
    assert listener.depth == 0
    return listener


def test_without_a_listener_everybody_gets_the_same_nothing():
    module = Device("cpu").kernel("relu")
    assert annotate("step") is annotate("other") is in_layer(g.ReLU()) is in_pass(None, "forward") is NOTHING
    assert module is sys.modules["gpucnn_kernels.relu_cpu"]
    with annotate("step"), annotate("step"):
        pass


def test_layer_by_layer():
    device = Device("cpu", fuse=False)
    model = MODELS["tinydigits-cnn"]((1, 8, 8), 10).to(device)
    assert heard(model, device).innermost() == [
        ("features.0.forward", "conv2d_cpu.forward"),
        ("features.1.forward", "relu_cpu.forward"),
        ("features.2.forward", "maxpool2d_cpu.forward"),
        ("reshape.forward", "Reshape"),
        ("classifier.0.forward", "linear_cpu.forward"),
        ("cross_entropy.forward", "cross_entropy_cpu.forward"),
        ("cross_entropy.backward", "CrossEntropy"),
        ("classifier.0.backward_input", "linear_cpu.backward_input"),
        ("classifier.0.backward_weight", "linear_cpu.backward_weight"),
        ("reshape.backward", "Reshape"),
        ("features.2.backward", "maxpool2d_cpu.backward"),
        ("features.1.backward", "relu_cpu.backward"),
        ("features.0.backward_weight", "conv2d_cpu.backward_weight"),
    ]


def test_layers_that_run_as_one_are_the_convolutions():
    device = Device("cpu")
    listener = heard(MODELS["tinydigits-cnn"]((1, 8, 8), 10), device)
    names = [name for name, _ in listener.innermost()]
    assert names[0] == "features.0.forward" and names[-1] == "features.0.backward"
    assert not any(name.startswith(("features.1", "features.2")) for name in names)


def test_functions_without_kernels_and_modules_of_ones_own():
    class Mine(g.Module):
        def __init__(self):
            self.body = g.Sequential(g.Flatten(), g.Linear(64, 64), g.Tanh())
            self.head = g.Linear(64, 10)

        def forward(self, x):
            return self.head(F.gelu(self.body(x) * 2))

    names = [name for name, _ in heard(Mine(), g.CPU).innermost()]
    assert names[:5] == [f"{name}.forward" for name in ("body.0", "body.1", "body.2", "mul", "gelu")]
    assert {"head.forward", "body.2.backward", "gelu.backward", "mul.backward"} <= {*names}


def test_kernels_outside_a_layer_belong_to_the_range_around_them():
    optimizer = g.optim.SGD([p := g.Parameter(np.ones(3, np.float32))], lr=0.1)
    p.grad = p.data.copy()
    with listening(listener := Heard()):
        optimizer.step()
        with annotate("between"):
            g.CPU.kernel("sgd").step(p.data, p.grad, p.grad, 0.1, 0.9, 0.0, False)
        assert g.CPU.kernel("philox").DROPOUT > 0  # what is no function is handed out as it is
    assert listener.innermost() == [("optimizer", "sgd_cpu.step"), ("between", "sgd_cpu.step")]


def test_ranges_end_where_a_layer_fails():
    model = g.Sequential(g.Linear(3, 2), g.Linear(3, 2))
    with listening(listener := Heard()):
        with pytest.raises(ValueError, match="features"):
            model(g.Tensor(np.ones((1, 3), np.float32)))
        assert listener.depth == 0
        with annotate("after"):
            pass
    assert listener.ranges[-1] == (0, "after", "")


def test_what_ran_before_anybody_listened_goes_backward_by_its_kind():
    loss = F.gelu(g.Tensor(np.ones(3, np.float32), requires_grad=True)).sum()
    with listening(listener := Heard()):
        loss.backward()
    assert [name for name, _ in listener.innermost()] == ["sum.backward", "gelu.backward"]


def ranges_heard(code, environment):
    """What a process of its own prints."""
    environment = {name: value for name, value in os.environ.items() if name != "NVTX_INJECTION64_PATH"} | environment
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout.splitlines()


@pytest.mark.parametrize("tool", [True, False])
def test_nvtx_is_used_where_a_tool_is_there(tool, tmp_path):
    """With a package nvtx that prints, and makes the attributes of a name once."""
    (tmp_path / "nvtx.py").write_text(NVTX)
    code = "import gpucnn.profiling as p\nfor _ in range(2):\n with p.annotate('a'), p.annotate('b'): pass"
    path = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    out = ranges_heard(code, path | ({"NVTX_INJECTION64_PATH": "tool.so"} if tool else {}))
    once = ["push a", "push b", "pop", "pop"]
    expected = ["domain gpucnn", "attributes a", "push a", "attributes b", "push b", "pop", "pop", *once]
    assert out == (expected if tool else [])


def test_a_tool_hears_a_layer_through_nvtx(tmp_path):
    """With the real package, and a tool of ours in the place of nsys's."""
    tool = tmp_path / "tool.so"
    source = Path(__file__).parent / "nvtx_tool.cpp"
    find_compiler().run(["-shared", "-fPIC", "-o", str(tool), str(source)])
    code = (
        "import numpy as np, gpucnn as g\n"
        "model = g.Sequential(g.Linear(3, 2).to(g.Device(kernels='xp')))\n"
        "model(g.Tensor(np.ones((1, 3), 'f'), device=g.Device(kernels='xp'))).sum().backward()"
    )
    names = ["0.forward", "0.forward", "sum.forward", "sum.backward", "0.backward", "0.backward_weight"]
    heard = ranges_heard(code, {"NVTX_INJECTION64_PATH": str(tool)})
    assert [line for line in heard if line.startswith("push")] == [f"push gpucnn:{name}" for name in names]
    assert heard.count("pop gpucnn") == len(names)
