"""The same weights and batches as PyTorch, step by step: every op, the tape, the loss and the optimizers at once."""

import numpy as np
import pytest

import gpucnn as g
import gpucnn.functional as F
from gpucnn.models import MODELS
from gpucnn.optim import one_cycle

torch = pytest.importorskip("torch", reason="no torch: make setup EXTRAS=oracle")

pytestmark = pytest.mark.timeout(1200)  # minutes on a busy machine

STEPS = 100
NETWORKS = {"lenet": (32, 0.05), "alexnet-lite": (2, 0.02)}  # batch size, the recipe's learning rate


def torch_twin(name, model):
    """The same network in PyTorch, with the same weights."""
    nn = torch.nn

    def conv(ci, co, k, padding):
        return [nn.Conv2d(ci, co, k, padding=padding), nn.ReLU()]

    if name == "lenet":
        features = [*conv(3, 6, 5, 0), nn.MaxPool2d(2), *conv(6, 16, 5, 0), nn.MaxPool2d(2)]
        classifier = [nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)]
    else:
        features = [*conv(3, 64, 3, 1), nn.MaxPool2d(2), *conv(64, 128, 3, 1), nn.MaxPool2d(2)]
        features += [*conv(128, 256, 3, 1), *conv(256, 256, 3, 1), *conv(256, 128, 3, 1), nn.MaxPool2d(2)]
        classifier = [nn.Linear(2048, 512), nn.ReLU(), nn.Dropout(0.0), nn.Linear(512, 10)]
    twin = nn.Module()
    twin.features, twin.classifier = nn.Sequential(*features), nn.Sequential(*classifier)
    state = {key: torch.from_numpy(value) for key, value in model.state_dict().items()}
    twin.to(state["classifier.0.weight"].dtype).load_state_dict(state)
    return lambda x: twin.classifier(twin.features(x).flatten(1)), list(twin.parameters())


def losses(name, dtype, steps, optimizer):
    """(ours, PyTorch's): the loss of each step of one run of the recipe, dropout off."""
    torch.set_num_threads(1)
    batch_size, lr = NETWORKS[name]
    lr = lr if optimizer == "sgd" else 3e-4
    model = MODELS[name]().initialize(1).to(g.CPU, dtype)
    for module in model.modules():
        if isinstance(module, g.Dropout):
            module.p = 0.0
    twin, parameters = torch_twin(name, model)
    if optimizer == "sgd":
        ours = g.optim.SGD(model.named_parameters(), lr, 0.9, weight_decay=5e-4)
        theirs = torch.optim.SGD(parameters, lr, momentum=0.9, weight_decay=5e-4)
    else:
        ours = g.optim.Adam(model.named_parameters(), lr)
        theirs = torch.optim.Adam(parameters, lr)
    schedule = one_cycle(steps)
    rng = np.random.default_rng(0)
    prototypes = rng.normal(size=(10, 3, 32, 32))  # so that there is something to learn
    pairs = []
    for step in range(steps):
        y = rng.integers(0, 10, batch_size)
        x = (prototypes[y] + rng.normal(size=(batch_size, 3, 32, 32))).astype(dtype)
        ours.lr = theirs.param_groups[0]["lr"] = lr * schedule(step)
        loss = F.cross_entropy(model(g.Tensor(x)), y)
        ours.zero_grad()
        loss.backward()
        ours.step()
        expected = torch.nn.functional.cross_entropy(twin(torch.from_numpy(x)), torch.from_numpy(y))
        theirs.zero_grad()
        expected.backward()
        theirs.step()
        pairs.append((loss.item(), expected.item()))
    return np.array(pairs).T


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("name", NETWORKS)
def test_float64_losses_of_100_steps_agree(name, optimizer):
    ours, theirs = losses(name, np.float64, STEPS, optimizer)
    assert np.ptp(theirs) > 0.1  # it moved
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


@pytest.mark.parametrize("name", NETWORKS)
def test_float32_losses_of_10_steps_agree(name):
    ours, theirs = losses(name, np.float32, 10, "sgd")
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
