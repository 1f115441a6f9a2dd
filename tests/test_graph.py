"""A recorded step gives the bits of the step as it is written, and what cannot be recorded runs as it is written."""

from functools import partial

import numpy as np
import pytest
from gpucnn_kernels import cross_entropy_cpu, relu_cpu
from gpucnn_kernels.recording import watched

import gpucnn as g
from gpucnn import Device, training
from gpucnn.data import Batches, load
from gpucnn.graph import Graph
from gpucnn.models import model_class
from gpucnn.optim import one_cycle
from gpucnn.steps import DeviceSteps, HostSteps
from gpucnn.training import fit

CPU, EAGER = Device("cpu"), Device("cpu", graph=False)
rng = np.random.default_rng(0)


def own_layers():
    return g.Sequential(g.Conv2d(1, 6, 3), g.ReLU(), g.MaxPool2d(2), g.Flatten(), g.Linear(54, 10))


class Mine(g.Sequential):
    """A model that might look at its numbers."""


def batch(n, shape=(1, 8, 8)):
    return rng.standard_normal((n, *shape), np.float32), rng.integers(0, 10, n)


def make(build, device=CPU):
    """A model, its Graph, and one of its twin that is never recorded."""
    models = [build().initialize(0).to(each) for each in (device, Device("cpu", kernels=device.kernels, graph=False))]
    return models[0], *(Graph(model, model_device(model)) for model in models)


def model_device(model):
    return next(model.parameters()).device


def outcome(graph, x, y):
    loss, logits = graph(x, y)
    return [array.copy() for array in (loss, logits, *(p.grad for p in graph.parameters))]


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.fixture
def tape_runs(monkeypatch):
    """Counts how often a loss was computed by the tape."""
    runs = []
    original = cross_entropy_cpu.forward
    monkeypatch.setattr(cross_entropy_cpu, "forward", lambda *a, **k: runs.append(1) or original(*a, **k))
    return runs


@pytest.mark.parametrize("kernels", ["cpu", "exact"])
@pytest.mark.parametrize("network", ["lenet", "tinydigits-cnn", "mlp"])
def test_training_gives_the_same_weights_with_and_without(network, kernels, tape_runs):
    data = load("tinydigits").fit(model_class(network).image_size or (8, 8))
    states, runs = [], []
    for graph in (True, False):
        device = Device("cpu", kernels=kernels, graph=graph)
        model = model_class(network)(data.image_shape, 10).initialize(1).to(device)
        images = {"device": device, "mean": data.mean, "std": data.std}
        train = Batches(data.train_x[:300], data.train_y[:300], 64, **images, shuffle=True, augment=("crop",))
        optimizer = g.optim.SGD(model.named_parameters(), 0.05, 0.9, weight_decay=1e-3)
        test = Batches(data.test_x, data.test_y, 64, **images)
        before = len(tape_runs)
        records = list(fit(model, optimizer, train, test, epochs=3, schedule=one_cycle(15), label_smoothing=0.1))
        states.append((model.state_dict(), [(r.train_loss, r.train_accuracy, r.test_loss) for r in records]))
        runs.append(len(tape_runs) - before - 3 * len(test))
    (recorded, metrics), (plain, expected) = states
    assert metrics == expected
    assert all(np.array_equal(recorded[name], plain[name]) for name in plain)
    assert runs == [2 + 3, 15]  # two to be recorded and compared, and the smaller batch of each epoch


def test_other_batches_run_as_ever_and_the_recording_stays(tape_runs):
    _, graph, plain = make(own_layers)
    for n in (16, 16, 16, 7, 16):
        x, y = batch(n)
        assert same(outcome(graph, x, y), outcome(plain, x, y))
    assert len(tape_runs) == 5 + 2 + 1


def test_a_gradient_replaces_the_one_before():
    model, graph, plain = make(own_layers)
    for _ in range(4):
        for p in model.parameters():
            p.grad = np.full(p.shape, 7, np.float32)
        x, y = batch(16)
        assert same(outcome(graph, x, y), outcome(plain, x, y))


def test_new_arrays_of_parameters_are_recorded_anew():
    model, graph, plain = make(own_layers)
    for step in range(8):
        if step == 4:
            for one, other in zip(model.parameters(), plain.parameters, strict=True):
                one.data = other.data = one.data * 0.5
        x, y = batch(16)
        assert same(outcome(graph, x, y), outcome(plain, x, y))


@pytest.mark.parametrize("label", [-1, 10, 1 << 20])
def test_wrong_labels_never_reach_a_recorded_kernel(label):
    _, graph, _ = make(own_layers)
    for _ in range(3):
        graph(*batch(16))
    x, y = batch(16)
    y[3] = label
    with pytest.raises(ValueError, match="labels run from"):
        graph(x, y)


def test_other_arrays_than_the_pools_are_inputs_too():
    """Plain C order, a part of a larger array, and an array that may not be written to."""
    _, graph, plain = make(own_layers)
    for _ in range(3):
        x, y = batch(16)
        large = np.zeros((20, 1, 8, 8), np.float32)
        large[2:18] = x
        x.flags.writeable = False
        assert same(outcome(graph, large[2:18], y), outcome(plain, x, y))
    assert same(outcome(graph, x, y), outcome(plain, x, y))


UNFIT = [
    pytest.param(lambda: g.Sequential(g.Flatten(), g.Linear(64, 10), g.Tanh()), id="tanh"),
    pytest.param(lambda: g.Sequential(g.Flatten(), g.LayerNorm(64), g.Linear(64, 10)), id="layer norm"),
    pytest.param(lambda: g.Sequential(g.Flatten(), g.Dropout(0.5), g.Linear(64, 10)), id="dropout"),
    pytest.param(lambda: g.Sequential(g.Flatten(), g.Linear(64, 10), g.Dropout(0.5)), id="dropout on the tape"),
    pytest.param(lambda: Mine(g.Flatten(), g.Linear(64, 10)), id="own"),
]


@pytest.mark.parametrize("build", UNFIT)
def test_what_is_not_kernels_alone_is_not_repeated(build, tape_runs):
    _, graph, _ = make(build)
    for _ in range(5):
        graph(*batch(16))
    assert len(tape_runs) == 5


def test_a_forward_of_ones_own_is_not_repeated(tape_runs):
    model, graph, _ = make(own_layers)
    model.forward = lambda x: g.Sequential.forward(model, x)
    graph = Graph(model, CPU)
    for _ in range(5):
        graph(*batch(16))
    assert len(tape_runs) == 5


@pytest.mark.parametrize("kernels", ["xp", "relu=xp", "linear=xp", "cross_entropy=xp"])
def test_the_reference_is_not_repeated(kernels):
    device = Device("cpu", kernels=kernels)
    _, graph, plain = make(lambda: model_class("lenet")((3, 32, 32)), device)
    for _ in range(5):
        x, y = batch(8, (3, 32, 32))
        assert same(outcome(graph, x, y), outcome(plain, x, y))


def test_a_kernel_that_computes_beside_its_kernels_is_found_out(monkeypatch):
    """Only the comparison of the second batch sees it."""
    original = relu_cpu.forward
    monkeypatch.setattr(relu_cpu, "forward", lambda x, **options: original(x * np.float32(0.5), **options))
    build = lambda: g.Sequential(g.Flatten(), g.Linear(64, 32), g.ReLU(), g.Linear(32, 10))  # noqa: E731
    _, graph, plain = make(build)
    for _ in range(4):
        x, y = batch(16)
        assert same(outcome(graph, x, y), outcome(plain, x, y))


def test_a_batch_that_changes_nothing_proves_nothing(tape_runs):
    _, graph, _ = make(own_layers)
    x, y = batch(16)
    for _ in range(4):
        graph(x, y)
    assert len(tape_runs) == 4
    for _ in range(3):
        graph(*batch(16))
    assert len(tape_runs) == 5


def test_switching_off():
    assert CPU.graph and not EAGER.graph
    assert Graph(own_layers().to(EAGER), EAGER)._repeated._recorder is None


def normalised():
    return g.Sequential(g.Conv2d(1, 6, 3), g.BatchNorm2d(6), g.ReLU(), g.MaxPool2d(2), g.Flatten(), g.Linear(54, 10))


def test_running_statistics_count_every_batch_once(tape_runs):
    """The one that is compared, too, and those behind statistics that somebody loads."""
    model, graph, plain = make(normalised)
    for step in range(9):
        if step == 5:
            for each in (model, plain.model):
                each.load_state_dict({name: value / 2 for name, value in each.state_dict().items()})
        x, y = batch(16)
        assert same(outcome(graph, x, y), outcome(plain, x, y))
        assert same(model.state_dict().values(), plain.model.state_dict().values())
    assert len(tape_runs) == 9 + 2 * 2


# whole steps on the simulator


def network(dropout):
    layers = (g.Conv2d(1, 6, 3), g.ReLU(), g.MaxPool2d(2), g.Flatten(), g.Linear(54, 20), g.ReLU())
    return g.Sequential(*layers, *([g.Dropout(0.3)] if dropout else []), g.Linear(20, 10))


def train_on(device, build, optimizer, after=lambda model: None):
    """What `fit` gives after three epochs of ten whole batches and a smaller one: records and weights.

    after: called with the model after each epoch.
    """
    data = load("tinydigits")
    model = build().initialize(1).to(device)
    images = {"device": device, "mean": data.mean, "std": data.std}
    train = Batches(data.train_x[:150], data.train_y[:150], 14, **images, shuffle=True, augment=("crop",))
    test = Batches(data.test_x[:40], data.test_y[:40], 40, **images)
    records, how = [], {"epochs": 3, "schedule": one_cycle(33)}
    for r in fit(model, optimizer(model.named_parameters()), train, test, **how):
        records.append((r.train_loss, r.train_accuracy, r.test_loss, r.lr))
        after(model)
    return records, model.state_dict()


def sgd(parameters):
    return g.optim.SGD(parameters, 0.05, 0.9, weight_decay=1e-3, nesterov=True)


@pytest.fixture
def deals(monkeypatch):
    """Counts how often the first kernel of a step was prepared by Python."""
    from gpucnn_kernels import deal_raw

    runs, original = [], deal_raw.forward
    monkeypatch.setattr(deal_raw, "forward", lambda *a, **k: runs.append(1) or original(*a, **k))
    return runs


def adam(parameters):
    return g.optim.AdamW(parameters, 1e-3)


@pytest.mark.parametrize(
    "kernels, optimizer, dropout, at_once",
    [("raw", sgd, False, 1), ("raw", sgd, True, 1), ("raw", adam, True, 4)]
    + [(kind, sgd, True, 1) for kind in ("tf32", "tf32x3", "bf16")],
)
def test_whole_steps_are_repeated_to_the_bit(kernels, optimizer, dropout, at_once, deals, monkeypatch):
    monkeypatch.setattr(training, "steps_on", lambda device: partial(DeviceSteps, at_once=at_once))
    outcomes, counts = [], []
    for graph in (True, False):
        before = len(deals)
        device = Device("sim", kernels=kernels, graph=graph)
        outcomes.append(train_on(device, lambda: network(dropout), optimizer))
        counts.append(len(deals) - before)
    (records, weights), (expected, plain) = outcomes
    assert records == expected
    assert all(np.array_equal(weights[name], plain[name]) for name in plain)
    assert counts == [2 if at_once == 1 else 2 * (at_once + 1), 30]  # by Python: all, or what is recorded and compared


def test_steps_with_batch_normalisation_are_repeated_to_the_bit(deals):
    records, state = train_on(Device("sim"), normalised, sgd)
    assert len(deals) == 2
    expected, plain = train_on(Device("sim", graph=False), normalised, sgd)
    assert records == expected
    assert state["1.num_batches_tracked"] == 33
    assert all(np.array_equal(state[name], plain[name]) for name in plain)


@pytest.mark.parametrize(
    "network, shape, kernels, launches, conversions",
    [
        ("tinydigits-cnn", (1, 8, 8), "raw", 11, 0),
        ("lenet", (3, 32, 32), "raw", 28, 0),
        ("lenet", (3, 32, 32), "bf16", 37, 3),  # of flattened features, their gradient, and that of ten classes
    ],
)
def test_the_launches_of_a_step(network, shape, kernels, launches, conversions):
    """As many as docs/decisions.md says: the loss, its gradient, the right answers and their sums are one of them.

    Pictures arrive in the layout of the first convolution, and no layer converts them.
    """
    device, pixels = Device("sim", kernels=kernels, graph=False), {"mean": [120.0] * shape[0], "std": [60.0] * shape[0]}
    x, y = rng.integers(0, 256, (4, *shape), np.uint8), rng.integers(0, 10, 4)
    train = Batches(x, y, 2, device=device, **pixels, shuffle=True, augment=("crop", "flip"))
    model = model_class(network)(shape, 10).initialize(0).to(device)
    names = []
    with DeviceSteps(model, sgd(model.named_parameters()), train, 0, 0.1) as steps:
        steps.begin(0, [0.1] * 2)
        with watched(lambda kernel, arguments: names.append(kernel.__name__)):
            steps()
    assert len(names) == launches, names
    assert [name for name in names if "entropy" in name] == ["cross_entropy_forward"]
    assert sum(name.startswith("channels_") for name in names) == conversions


@pytest.mark.parametrize("optimizer", [sgd, adam])
def test_steps_from_the_device_are_those_of_the_host(optimizer, monkeypatch):
    """Batches dealt in the device's memory, and handed over one by one: the same bits, smaller last batches too."""
    device = Device("sim")
    records, weights = train_on(device, lambda: network(True), optimizer)
    monkeypatch.setattr(training, "steps_on", lambda device: HostSteps)
    expected, plain = train_on(device, lambda: network(True), optimizer)
    assert all(np.array_equal(weights[name], plain[name]) for name in plain)
    assert records == expected


def test_weights_that_somebody_loads_between_epochs_count(deals):
    def halve(model):
        model.load_state_dict({name: value / 2 for name, value in model.state_dict().items()})

    records, weights = train_on(Device("sim"), lambda: network(False), sgd, halve)
    assert len(deals) == 2  # the recording stays
    expected, plain = train_on(Device("sim", graph=False), lambda: network(False), sgd, halve)
    assert records == expected
    assert all(np.array_equal(weights[name], plain[name]) for name in plain)


def test_a_model_that_moved_has_gradients_of_its_own_again():
    """Where the optimizer wanted them is another dtype's vector now."""
    model = network(False).initialize(1).to(Device("sim"))
    optimizer = sgd(model.named_parameters())
    optimizer.receive_gradients()
    model.to(g.CPU, np.float64)
    x, y = batch(4)
    g.functional.cross_entropy(model(g.Tensor(x.astype(np.float64))), y).backward()
    assert all(p.grad.dtype == np.float64 for p in model.parameters())


def test_the_optimizer_is_given_back():
    seen = []
    train_on(Device("sim"), lambda: network(False), lambda parameters: seen.append(adam(parameters)) or seen[0])
    (optimizer,) = seen
    assert (optimizer.steps, optimizer.lr, optimizer.count) == (33, 1e-3, None)
    assert all(p.into is None for p in optimizer.parameters.values())
