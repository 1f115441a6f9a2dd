"""Layers and modules: state that PyTorch reads, seeds, modes and errors."""

import math

import numpy as np
import pytest

import gpucnn as g
import gpucnn.functional as F
from gpucnn import Tensor
from gpucnn.initializers import undrawn

# constructor, PyTorch's name, arguments of both, an input
LAYERS = [
    ("Conv2d", (3, 4, 3), {}, (2, 3, 5, 6)),
    ("Conv2d", (4, 6, (3, 2), (2, 1), (1, 0)), {"groups": 2, "bias": False}, (2, 4, 5, 6)),
    ("Conv2d", (2, 3, 4), {"padding": "same"}, (1, 2, 5, 6)),
    ("Linear", (5, 4), {}, (3, 5)),
    ("Linear", (5, 4), {"bias": False}, (2, 3, 5)),
    ("BatchNorm2d", (3,), {}, (2, 3, 4, 5)),
    ("BatchNorm1d", (3,), {"eps": 1e-3, "momentum": 0.3}, (4, 3)),
    ("BatchNorm1d", (3,), {}, (4, 3, 5)),
    ("LayerNorm", (5,), {}, (2, 3, 5)),
    ("LayerNorm", ((4, 5),), {"eps": 1e-3}, (2, 4, 5)),
    ("LocalResponseNorm", (5,), {"alpha": 0.3, "beta": 0.5, "k": 2.0}, (2, 7, 3, 4)),
    ("MaxPool2d", (3, 2), {"padding": 1}, (2, 3, 7, 6)),
    ("AvgPool2d", ((3, 2),), {}, (2, 3, 7, 6)),
    ("AdaptiveAvgPool2d", (1,), {}, (2, 3, 7, 6)),
    ("Flatten", (), {}, (2, 3, 4)),
    ("ReLU", (), {}, (2, 3)),
    ("Sigmoid", (), {}, (2, 3)),
    ("Tanh", (), {}, (2, 3)),
    ("GELU", (), {}, (2, 3)),
    ("Dropout", (0.5,), {}, (2, 3)),
    ("Dropout2d", (0.5,), {}, (2, 3, 4, 5)),
]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("name, arguments, keywords, shape", LAYERS)
def test_state_and_outputs_are_those_of_torch(name, arguments, keywords, shape):
    """Keys, order and shapes of the state; the same outputs after loading it in either direction."""
    torch = pytest.importorskip("torch", reason="no torch: make setup EXTRAS=oracle")
    ours, theirs = (getattr(kinds, name)(*arguments, **keywords) for kinds in (g, torch.nn))
    theirs = theirs.double()
    ours.to(g.CPU, np.float64)
    state = theirs.state_dict()
    assert [(key, value.shape) for key, value in ours.state_dict().items()] == [
        (key, tuple(value.shape)) for key, value in state.items()
    ]
    rng = np.random.default_rng(0)

    def agree():
        for training in (True, False):
            x = rng.normal(size=shape)
            if training and "Dropout" in name:
                continue
            y, expected = ours.train(training)(Tensor(x)), theirs.train(training)(torch.from_numpy(x))
            np.testing.assert_allclose(y.data, expected.detach(), rtol=1e-12, atol=1e-12)
        for key, value in theirs.state_dict().items():  # running statistics, too
            np.testing.assert_allclose(ours.state_dict()[key], value, rtol=1e-12)

    ours.load_state_dict(state)
    agree()
    changed = {key: np.array(rng.uniform(1, 2, value.shape), value.dtype) for key, value in ours.state_dict().items()}
    ours.load_state_dict(changed)
    theirs.load_state_dict({key: torch.from_numpy(value) for key, value in changed.items()})
    agree()


def test_self_attention_is_that_of_torch():
    torch = pytest.importorskip("torch", reason="no torch: make setup EXTRAS=oracle")
    ours = g.MultiheadSelfAttention(6, 2).initialize(0).to(g.CPU, np.float64)
    theirs = torch.nn.MultiheadAttention(6, 2, batch_first=True).double()
    state = ours.state_dict()
    assert [(key, value.shape) for key, value in state.items()] == [
        (key, tuple(value.shape)) for key, value in theirs.state_dict().items()
    ]
    theirs.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})
    x = np.random.default_rng(0).normal(size=(2, 5, 6))
    expected, _ = theirs(*[torch.from_numpy(x)] * 3)
    np.testing.assert_allclose(ours(Tensor(x)).data, expected.detach(), rtol=1e-12, atol=1e-12)


def test_patches_are_cut_row_by_row():
    """Each token is its own patch, times the weights, plus its own place."""
    layer = g.PatchEmbedding(2, (4, 6), 2, 5).initialize(0).to(g.CPU, np.float64)
    x = np.random.default_rng(0).normal(size=(3, 2, 4, 6))
    tokens = layer(Tensor(x)).data
    assert tokens.shape == (3, 6, 5)
    assert np.abs(layer.positions.data).min() > 0
    for t, (row, column) in enumerate([(0, 0), (0, 2), (0, 4), (2, 0), (2, 2), (2, 4)]):
        patch = x[:, :, row : row + 2, column : column + 2].reshape(3, 8)
        expected = patch @ layer.proj.weight.data.reshape(5, 8).T + layer.proj.bias.data + layer.positions.data[0, t]
        np.testing.assert_allclose(tokens[:, t], expected, rtol=1e-12, atol=1e-12)


class Net(g.Module):
    """Parameters of its own before and after its children."""

    def __init__(self):
        self.scale = g.Parameter(np.ones(3, np.float32))
        self.body = g.Sequential(g.Conv2d(1, 3, 3), g.BatchNorm2d(3), g.ReLU(), g.Dropout(0.5))
        self.head = g.Sequential(g.Flatten(), g.Linear(12, 2))
        self.offset = Tensor(np.zeros(2, np.float32))

    def forward(self, x):
        return self.head(self.body(x) * self.scale.reshape(1, 3, 1, 1)) + self.offset


def test_names_are_those_of_torch():
    torch = pytest.importorskip("torch", reason="no torch: make setup EXTRAS=oracle")
    nn = torch.nn
    twin = nn.Module()
    twin.scale = nn.Parameter(torch.ones(3))
    twin.body = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5))
    twin.head = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    twin.register_buffer("offset", torch.zeros(2))
    net = Net()
    assert [name for name, _ in net.named_modules()] == [name for name, _ in twin.named_modules()]
    assert [name for name, _ in net.named_parameters()] == [name for name, _ in twin.named_parameters()]
    assert list(net.state_dict()) == list(twin.state_dict())


def test_names():
    assert [name for name, _ in Net().named_parameters()] == [
        "scale",
        *(f"body.{layer}.{kind}" for layer in (0, 1) for kind in ("weight", "bias")),
        *("head.1.weight", "head.1.bias"),
    ]
    buffers = "running_mean", "running_var", "num_batches_tracked"
    assert list(Net().state_dict())[:2] == ["scale", "offset"]
    assert list(Net().state_dict())[6:9] == [f"body.1.{name}" for name in buffers]


def test_state_dict_is_a_copy():
    layer = g.Linear(2, 2)
    state = layer.state_dict()
    state["weight"][...] = 7
    assert not (layer.weight.data == 7).any()
    layer.load_state_dict(state)
    state["weight"][...] = 8
    assert (layer.weight.data == 7).all()


@pytest.mark.parametrize(
    "change, text",
    [
        ({"bias": None}, "missing bias$"),
        ({"extra": np.ones(1)}, "unknown extra$"),
        ({"weight": np.ones((3, 2))}, r"weight is \(3, 2\), expected \(2, 3\)$"),
        (
            {"weight": None, "a": np.ones(1), "b": np.ones(1), "bias": np.ones(())},
            r"missing weight; unknown a; unknown b, and 1 more$",
        ),
    ],
)
def test_load_state_dict_errors_change_nothing(change, text):
    layer = g.Linear(3, 2)
    before = layer.state_dict()
    state = {key: value for key, value in {**before, **change}.items() if value is not None}
    with pytest.raises(ValueError, match="weights do not fit the model: " + text):
        layer.load_state_dict(state)
    assert all(np.array_equal(before[key], value) for key, value in layer.state_dict().items())


def test_to_another_dtype():
    net = Net().initialize(0)
    net.scale.grad = np.ones(3)
    before = net.state_dict()
    assert net.to(g.CPU, np.float64) is net
    assert net.scale.grad is None
    for key, value in net.state_dict().items():
        assert value.dtype == (np.int64 if key.endswith("tracked") else np.float64)
        np.testing.assert_array_equal(value, before[key])
    assert net(Tensor(np.ones((2, 1, 4, 4)))).dtype == np.float64
    net.load_state_dict(before)  # float32 values are taken over as float64
    assert net.scale.dtype == np.float64


def test_train_and_eval_reach_every_module():
    net = Net()
    assert all(module.training for module in net.modules())
    assert net.eval() is net
    assert not any(module.training for module in net.modules())
    assert all(module.training for module in net.train().modules())
    assert Net().training, "the mode of one model changed that of another"


def test_initialize_repeats_and_undoes_training():
    def state(seed, net):
        return {key: value.tobytes() for key, value in net.initialize(seed).state_dict().items() if key != "scale"}

    net = Net()
    first = state(1, net)
    F.cross_entropy(net(Tensor(np.ones((2, 1, 4, 4), np.float32))), [0, 1]).backward()
    for p in net.parameters():
        p.data -= p.grad
    assert first != {key: value.tobytes() for key, value in net.state_dict().items() if key != "scale"}
    assert first == state(1, net) == state(1, Net())
    assert first["body.0.weight"] != state(2, net)["body.0.weight"]


@pytest.mark.parametrize(
    "layer, fan_in", [(g.Conv2d(6, 400, (3, 5), groups=2), 45), (g.Linear(80, 500), 80)], ids=["Conv2d", "Linear"]
)
def test_initial_values_are_uniform_up_to_the_bound(layer, fan_in):
    layer.initialize(5)
    bound = 1 / math.sqrt(fan_in)
    for p in (layer.weight, layer.bias):
        values = np.sort(p.data.ravel().astype(np.float64)) / bound
        assert p.dtype == np.float32
        assert 1 - 10 / values.size < abs(values).max() <= 1 + 1e-7  # lower in a case of 20,000
        uniform = np.linspace(-1, 1, values.size)  # Kolmogorov and Smirnov: 1.95 / sqrt(n) in a case of 1,000
        assert abs(values - uniform).max() / 2 < 1.95 / math.sqrt(values.size)


def test_weights_differ_without_a_seed():
    assert not np.array_equal(g.Linear(3, 3).weight.data, g.Linear(3, 3).weight.data)


def test_layers_that_are_not_drawn_are_drawn_by_initialize():
    def make():
        return g.Sequential(g.Linear(3, 2), g.MultiheadSelfAttention(4, 2), g.PatchEmbedding(1, (4, 4), 2, 3))

    with undrawn():
        model = make()
    assert not any(p.data.any() for p in model.parameters())
    expected = make().initialize(1).state_dict()
    assert all(np.array_equal(value, expected[key]) for key, value in model.initialize(1).state_dict().items())
    assert g.Linear(3, 2).weight.data.all()


def test_repr():
    assert repr(g.Conv2d(3, 8, 5)) == "Conv2d(3, 8, kernel_size=5)"
    assert repr(g.Conv2d(4, 8, (3, 5), 2, 1, groups=2)) == (
        "Conv2d(4, 8, kernel_size=(3, 5), stride=2, padding=1, groups=2)"
    )
    assert repr(g.Conv2d(4, 8, 3, padding="same")) == "Conv2d(4, 8, kernel_size=3, padding='same')"
    assert repr(g.MaxPool2d(3, 2)) == "MaxPool2d(kernel_size=3, stride=2)"
    assert repr(g.AvgPool2d(2, padding=1)) == "AvgPool2d(kernel_size=2, padding=1)"
    assert repr(g.BatchNorm2d(7)) == "BatchNorm2d(7)"
    assert repr(g.Dropout2d(0.2)) == "Dropout2d(p=0.2)"
    nested = g.Sequential(g.Linear(2, 3), g.Sequential(g.ReLU()))
    assert repr(nested) == "Sequential(\n  (0): Linear(2, 3)\n  (1): Sequential(\n    (0): ReLU()\n  )\n)"


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: g.Conv2d(3, 4, 0), "kernel_size must be at least 1, got 0"),
        (lambda: g.Conv2d(3, 4, (3, 0)), r"kernel_size must be at least 1, got \(3, 0\)"),
        (lambda: g.Conv2d(3, 4, 3.0), "kernel_size must be an integer or a pair of them, got 3.0"),
        (lambda: g.Conv2d(3, 4, (3, 3, 3)), "kernel_size must be an integer or a pair"),
        (lambda: g.Conv2d(3, 4, 3, 0), "stride must be at least 1, got 0"),
        (lambda: g.Conv2d(3, 4, 3, 1, -1), "padding must be at least 0, got -1"),
        (lambda: g.Conv2d(3, 4, 3, 1, "valid"), "padding must be an integer or a pair of them, got 'valid'"),
        (lambda: g.Conv2d(3, 4, 3, 2, "same"), "padding 'same' needs stride 1, got 2"),
        (lambda: g.Conv2d(3, 4, 3, groups=2), "groups must divide 3 and 4 channels, got 2"),
        (lambda: g.Conv2d(4, 3, 3, groups=2), "groups must divide 4 and 3 channels, got 2"),
        (lambda: g.Conv2d(3, 4, 3, groups=0), "groups must be at least 1, got 0"),
        (lambda: g.Conv2d(0, 4, 3), "in_channels must be at least 1, got 0"),
        (lambda: g.Conv2d(3, 0, 3), "out_channels must be at least 1, got 0"),
        (lambda: g.Linear(0, 1), "in_features must be at least 1, got 0"),
        (lambda: g.Linear(1, -1), "out_features must be at least 1, got -1"),
        (lambda: g.BatchNorm2d(0), "num_features must be at least 1, got 0"),
        (lambda: g.LayerNorm((3, 0)), r"normalized_shape\[1\] must be at least 1, got 0"),
        (lambda: g.LocalResponseNorm(0), "size must be at least 1, got 0"),
        (lambda: g.MultiheadSelfAttention(6, 4), "num_heads must divide embed_dim 6, got 4"),
        (lambda: g.PatchEmbedding(3, (32, 30), 4, 8), r"patch_size must divide the image's \(32, 30\), got 4"),
        (lambda: g.MaxPool2d(0), "kernel_size must be at least 1, got 0"),
        (lambda: g.MaxPool2d(2, 0), "stride must be at least 1, got 0"),
        (lambda: g.MaxPool2d(3, 2, 2), r"padding must be at most half of kernel_size \(3, 3\), got 2"),
        (lambda: g.AvgPool2d((4, 1), padding=1), "padding must be at most half"),
        (lambda: g.AvgPool2d(2, padding=-1), "padding must be at least 0, got -1"),
        (lambda: g.AdaptiveAvgPool2d(7), "AdaptiveAvgPool2d has only output_size 1, got 7"),
        (lambda: g.Dropout(1.5), "dropout probability must be between 0 and 1, got 1.5"),
        (lambda: g.Dropout2d(-0.1), "dropout probability must be between 0 and 1, got -0.1"),
        (lambda: g.Dropout(math.nan), "dropout probability must be between 0 and 1, got nan"),
    ],
)
def test_constructor_errors(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def ones(*shape, dtype=np.float32):
    return Tensor(np.ones(shape, dtype))


@pytest.mark.parametrize(
    "run, error, text",
    [
        (lambda: g.Conv2d(3, 4, 5)(ones(1, 3, 4, 6)), ValueError, "kernel 5x5 is larger than its input 4x6"),
        (lambda: g.Conv2d(3, 4, 3)(ones(1, 2, 4, 4)), ValueError, "input has 2 channels, the convolution takes 3"),
        (lambda: g.Conv2d(3, 4, 3)(ones(3, 4, 4)), ValueError, r"conv2d takes x \(n, c, h, w\) .* got \(3, 4, 4\)"),
        (
            lambda: g.Conv2d(1, 1, 1)(ones(1, 1, 1, 1, dtype=float)),
            TypeError,
            "input is float64, the weights are float32",
        ),
        (lambda: F.conv2d(ones(1, 1, 2, 2), ones(2, 1, 1, 1), ones(1)), ValueError, r"bias has shape \(1,\)"),
        (lambda: F.conv2d(ones(1, 2, 2, 2), ones(3, 1, 1, 1), groups=2), ValueError, "groups must divide the 3 output"),
        (lambda: F.conv2d(ones(1, 1, 2, 2), ones(1, 1, 1, 1), None, 2, "same"), ValueError, "needs stride 1"),
        (lambda: g.MaxPool2d(5)(ones(1, 1, 4, 6)), ValueError, "kernel 5x5 is larger than its input 4x6"),
        (lambda: g.MaxPool2d(16)(ones(1, 1, 16, 16)), NotImplementedError, "a window has at most 255"),
        (lambda: g.Linear(3, 4)(ones(2, 5)), ValueError, "input has 5 features, the linear layer takes 3"),
        (lambda: g.Linear(3, 4)(ones(2, 3, dtype=float)), TypeError, "input is float64, the weights are float32"),
        (lambda: F.linear(ones(2, 3), ones(4, 3), ones(1)), ValueError, r"bias has shape \(1,\)"),
        (lambda: F.linear(ones(2, 3), ones(3)), ValueError, "linear takes x"),
        (lambda: g.BatchNorm2d(3)(ones(2, 3)), ValueError, r"BatchNorm2d\(3\) cannot take .* \(2, 3\)"),
        (lambda: g.BatchNorm1d(3)(ones(2, 4)), ValueError, r"BatchNorm1d\(3\) cannot take .* \(2, 4\)"),
        (lambda: g.BatchNorm1d(3)(ones(1, 3)), ValueError, "more than one value a channel"),
        (lambda: F.batch_norm(ones(2, 3), *[ones(3)] * 3, ones(1)), ValueError, "batch_norm takes x"),
        (lambda: g.LayerNorm(3)(ones(2, 4)), ValueError, r"layer_norm over \(3,\) takes .* got \(2, 4\)"),
        (lambda: g.LocalResponseNorm(3)(ones(2, 3)), ValueError, "local_response_norm takes x"),
        (lambda: F.self_attention(ones(2, 3, 12), 3), ValueError, "num_heads 3, got"),
        (lambda: F.adaptive_avg_pool2d(ones(1, 1, 4, 4), 2), ValueError, "only output_size 1"),
        (lambda: F.dropout2d(ones(2, 3)), ValueError, "dropout2d takes"),
        (
            lambda: F.dropout(ones(2, 3), place=F.Place(0, 16, 0, np.array([1]))),
            ValueError,
            "names 1 samples, the batch has 2",
        ),
        (lambda: F.flatten(ones(2, 3), 2), IndexError, ""),
        (lambda: F.cross_entropy(ones(2, 3), [0, 3]), ValueError, "labels run from 0 to 3, but there are 3 classes"),
        (lambda: F.cross_entropy(ones(2, 3), [-1, 0]), ValueError, "labels run from -1 to 0"),
        (lambda: F.cross_entropy(ones(2, 3), [0.0, 1.0]), ValueError, "labels must be integers, got float64"),
        (
            lambda: F.cross_entropy(ones(2, 3), [0]),
            ValueError,
            r"takes \(n, classes\) and \(n,\), got \(2, 3\) and \(1,\)",
        ),
        (lambda: F.cross_entropy(ones(1, 3), [0], label_smoothing=2), ValueError, "label_smoothing must be between"),
    ],
)
def test_what_a_layer_cannot_take(run, error, text):
    with pytest.raises(error, match=text or None):
        run()


def test_a_layer_used_twice_in_a_step_draws_twice():
    layer, x = g.Dropout(0.5), g.Tensor(np.ones((4, 100), np.float32))
    layer.place = F.Place(0, 16, 0, np.arange(4))
    once, again = layer(x).data, layer(x).data
    assert not np.array_equal(once, again)
    layer.place = F.Place(0, 16, 0, np.arange(4))
    np.testing.assert_array_equal(layer(x).data, once)


def test_modules_that_would_be_lost_are_errors():
    with pytest.raises(TypeError, match="argument 1 is"):
        g.Sequential(g.Linear(3, 2), g.ReLU)

    class Hidden(g.Module):
        def __init__(self):
            self.layers = [g.Linear(2, 2)]

    with pytest.raises(TypeError, match=r"Hidden\.layers hides modules"):
        list(Hidden().parameters())


def test_a_tied_layer_is_listed_once():
    layer = g.Linear(2, 2)
    assert len(list(g.Sequential(layer, layer).modules())) == 2


def test_a_parameter_does_not_change_the_array_it_was_made_from():
    values = np.ones(3, np.float32)
    g.Parameter(values).data += 1
    assert values.tolist() == [1, 1, 1]


def test_pooling_names_a_wrong_shape():
    with pytest.raises(ValueError, match=r"pooling takes x \(n, c, h, w\), got \(3, 4, 4\)"):
        g.MaxPool2d(2)(g.Tensor(np.ones((3, 4, 4), np.float32)))


def test_an_empty_batch_passes_through_a_model():
    model = g.Sequential(g.Conv2d(1, 2, 3), g.ReLU(), g.MaxPool2d(2), g.Flatten(), g.Linear(18, 5))
    assert model(g.Tensor(np.ones((0, 1, 8, 8), np.float32))).shape == (0, 5)
