"""Models for other programs: what onnxruntime and PyTorch compute with what was written."""

import json
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import gpucnn as g
import gpucnn.functional as F
from gpucnn import export
from gpucnn.autograd import Function
from gpucnn.backend import Device
from gpucnn.cli import main
from gpucnn.errors import UsageError
from gpucnn.functional.conv import Conv2dReluMaxPool
from gpucnn.models import MODELS

PLAIN = Device("cpu", kernels="xp")
UNSEEN = {"Dropout", "CrossEntropy"}  # of training alone: no forward pass of a model in eval() records them


def run_onnx(content, x):
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"images": x})[0]


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def stir(model, seed=1):
    """Weights that are all of their own, statistics of batch normalisation included."""
    rng = np.random.default_rng(seed)
    for name, tensor in model.initialize(seed).named_tensors():
        if "running" in name or tensor.ndim == 1:
            tensor.data = tensor.data + rng.uniform(0.1, 0.5, tensor.shape).astype(np.float32)
    return model.eval()


@pytest.mark.parametrize("name", [name for name in MODELS if not MODELS[name].for_imagenet])
def test_every_model_computes_the_same_in_onnxruntime(name):
    import onnx

    shape = MODELS[name].default_shape()
    model = stir(MODELS[name](shape, 7)).to(PLAIN)
    content = export.to_onnx(model, shape, {"classes": "[]"})
    proto = onnx.load_from_string(content)
    assert (proto.ir_version, proto.opset_import[0].version) == (10, 17)
    onnx.checker.check_model(proto, full_check=True)
    names = {weight.name for weight in proto.graph.initializer}
    of_training = "num_batches", "aux"
    assert {name for name in model.state_dict() if not any(word in name for word in of_training)} <= names
    for n in (1, 4):
        x = noise(n, *shape)
        y, ours = run_onnx(content, x), model(g.Tensor(x, device=PLAIN)).numpy()
        assert y.shape == (n, 7)
        np.testing.assert_allclose(y, ours, rtol=1e-5, atol=1e-5 * max(1, np.abs(ours).max()))
    assert export.difference(content, model, shape) <= export.CLOSE


class Zoo(g.Module):
    """Every Function that a model in eval() may record, with arguments that are no defaults."""

    def __init__(self):
        self.conv = g.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), groups=2)
        self.same = g.Conv2d(6, 6, 2, padding="same", bias=False)
        self.norm = g.BatchNorm2d(6, eps=0.01)
        self.linear = g.Linear(5, 3, bias=False)
        self.tokens = g.Linear(6, 4)
        self.attention = g.Sequential(g.MultiheadSelfAttention(4, 2), g.LayerNorm(4, eps=0.01))
        self.neighbours = g.LocalResponseNorm(3, alpha=0.5, beta=0.6, k=2.0)
        self.scale = g.module.Parameter(np.array([1.5, -0.5, 2.0], np.float32))

    def forward(self, x):
        n = len(x)
        y = self.neighbours(self.norm(F.gelu(self.same(self.conv(x)))))
        y = F.max_pool2d(F.pad(y, (1, 2, 0, 1)), (3, 2), (2, 1), (1, 0)) + F.avg_pool2d(
            F.pad(y, (1, 2, 0, 1)), (3, 2), (2, 1), (1, 0)
        )
        tokens = self.tokens(y.reshape(n, 6, -1).reshape(n * 6, -1).reshape(n, -1, 6))
        tokens = F.transpose(F.transpose(self.attention(tokens), 1, -1), 2, 1)
        pooled = F.cat(
            [F.adaptive_avg_pool2d(y).reshape(n, 6), tokens.mean(1), tokens.sum((1, 2), keepdim=True).reshape(n, 1)], 1
        )
        z = self.linear(F.sigmoid(pooled).reshape(n, -1) @ g.Tensor(noise(11, 5, seed=3), device=x.device))
        z = (F.tanh(z) * self.scale - 0.25) / (2 + F.relu(z)) + (3 - z) ** 2.0
        return F.log_softmax(z, 1) + F.softmax(z) - 1 / (1 + F.sigmoid(z))


def test_functions_with_arguments_that_are_no_defaults():
    zoo = stir(Zoo()).to(PLAIN)
    content = export.to_onnx(zoo, (4, 9, 8), {})
    x = noise(3, 4, 9, 8, seed=5)
    np.testing.assert_allclose(run_onnx(content, x), zoo(g.Tensor(x, device=PLAIN)).numpy(), rtol=1e-5, atol=1e-5)
    assert export.difference(content, zoo, (4, 9, 8)) < export.CLOSE


def test_every_function_has_a_node():
    """A new Function is to be in NODES, and in the Zoo above."""
    waiting, found = [Function], set()
    while waiting:  # tests may define more
        each = waiting.pop()
        children = [child for child in each.__subclasses__() if child.__module__.startswith("gpucnn.")]
        waiting += children
        found |= set() if children else {each}
    assert {each.__name__ for each in found} - UNSEEN == {each.__name__ for each in export.NODES}
    images = g.Tensor(noise(2, 4, 9, 8), requires_grad=True, device=PLAIN)
    recorded = {type(f) for f in g.autograd.tape(stir(Zoo()).to(PLAIN)(images))}
    assert {each for each in export.NODES if each is not Conv2dReluMaxPool} == recorded


@pytest.mark.parametrize("pool", [1, 2])
def test_layers_that_run_as_one(pool):
    layers = [g.Conv2d(3, 4, 3, padding=1), g.ReLU(), *([g.MaxPool2d(2)] if pool == 2 else []), g.Flatten()]
    device = Device("cpu", kernels="conv2d_relu_maxpool=xp")
    model = stir(g.Sequential(*layers)).to(device)
    content = export.to_onnx(model, (3, 6, 6), {})
    x = noise(2, 3, 6, 6)
    np.testing.assert_allclose(run_onnx(content, x), model(g.Tensor(x, device=device)).numpy(), rtol=1e-5, atol=1e-5)


def test_what_has_no_form_in_onnx_is_named():
    class Odd(Function):
        def forward(self, x):
            return x

    class Model(g.Module):
        def forward(self, x):
            return Odd.apply(x)

    with pytest.raises(UsageError, match="Odd has no form in ONNX") as caught:
        export.to_onnx(Model(), (3,), {})
    assert "Conv2d" in caught.value.hint


def test_a_difference_is_noticed():
    one, other = (stir(MODELS["linear"]((3, 4, 4), 5), seed).to(PLAIN) for seed in (1, 2))
    content = export.to_onnx(one, (3, 4, 4), {})
    assert export.difference(content, one, (3, 4, 4)) < 1e-5 < export.difference(content, other, (3, 4, 4))


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    gpucnn("train --dataset tinydigits --epochs 1 --limit-batches 2 --output-dir run")
    return Path("run")


def gpucnn(line, code=0):
    result = CliRunner().invoke(main, line.split())
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


def test_the_command_writes_onnx(run):
    import onnx

    result = json.loads(gpucnn("export run a.onnx --json"))
    assert result["opset"] == 17 and result["difference"] < 1e-5
    properties = {p.key: json.loads(p.value) for p in onnx.load("a.onnx").metadata_props}
    assert properties["classes"] == list("0123456789") and properties["model"] == "tinydigits-cnn"
    assert (properties["mean"], properties["std"], properties["epoch"]) == ([0.0], [16.0], 1)
    gpucnn("export run b.onnx")
    assert Path("a.onnx").read_bytes() == Path("b.onnx").read_bytes()


def test_the_command_writes_a_state_dict_that_pytorch_takes(run):
    torch = pytest.importorskip("torch", reason="no PyTorch: make setup EXTRAS=oracle")
    from safetensors.torch import load_file

    gpucnn("export run a.safetensors")
    twin = torch.nn.Module()
    twin.features = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2))
    twin.classifier = torch.nn.Sequential(torch.nn.Linear(72, 10))
    twin.load_state_dict(load_file("a.safetensors"), strict=True)
    x = noise(3, 1, 8, 8)
    model, _ = g.cli.run_folder.restore(run, PLAIN)
    theirs = twin.classifier(twin.features(torch.from_numpy(x)).flatten(1)).detach().numpy()
    np.testing.assert_allclose(model(g.Tensor(x, device=PLAIN)).numpy(), theirs, rtol=1e-5, atol=1e-5)


def test_what_cannot_be_written(run, monkeypatch):
    assert "ending" in gpucnn("export run a.pt", 2)
    Path("a.onnx").write_text("mine")
    assert "a.onnx exists already" in gpucnn("export run a.onnx", 2)
    assert Path("a.onnx").read_text() == "mine"
    gpucnn("export run a.onnx --overwrite")
    assert "no weights at nowhere" in gpucnn("export nowhere b.onnx", 4)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert "pip install 'gpucnn[onnx]'" in gpucnn("export run b.onnx", 3)
    command = import_module("gpucnn.cli.export")  # `gpucnn.cli.export` is the command
    monkeypatch.setattr(command, "to_onnx", lambda *_: b"")
    monkeypatch.setattr(command, "difference", lambda *_: np.nan)
    assert "logits differ by nan" in gpucnn("export run b.onnx", 1)
    assert not Path("b.onnx").exists()
