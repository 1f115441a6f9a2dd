"""Optimizers and schedules against PyTorch's and against their formulas by hand."""

import math

import numpy as np
import pytest

import gpucnn as g
from gpucnn.optim import SGD, Adam, AdamW, Optimizer, constant, cosine, one_cycle, step_decay, warm_up

STEPS = 60
SHAPES = [(3, 5), (4,), ()]

# our class, PyTorch's name, arguments of both
CONFIGURATIONS = [
    (SGD, "SGD", {"lr": 0.1}),
    (SGD, "SGD", {"lr": 0.1, "weight_decay": 0.01}),
    (SGD, "SGD", {"lr": 0.05, "momentum": 0.9}),
    (SGD, "SGD", {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}),
    (SGD, "SGD", {"lr": 0.05, "momentum": 0.8, "nesterov": True, "weight_decay": 0.01}),
    (Adam, "Adam", {}),
    (Adam, "Adam", {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}),
    (AdamW, "AdamW", {}),
    (AdamW, "AdamW", {"lr": 0.02, "betas": (0.7, 0.99), "eps": 1e-4, "weight_decay": 0.3}),
]
every_configuration = pytest.mark.parametrize("ours, theirs, arguments", CONFIGURATIONS)


def start(dtype=np.float64):
    rng = np.random.default_rng(0)
    return [g.Parameter(np.asarray(rng.normal(size=shape), dtype)) for shape in SHAPES]


def gradient(p, step):
    """Of a loss with curvature and noise, in NumPy or PyTorch alike: it depends on where p is."""
    return 0.5 * p + p * p * p / 8 + math.sin(3.0 * step)


def lr_at(step, lr):
    """The learning rate moves, as under a schedule."""
    return lr * (1 + 0.5 * math.cos(step))


def run(optimizer, parameters, steps=STEPS):
    lr = optimizer.lr
    for step in range(steps):
        for p in parameters:
            p.grad = gradient(p.data, step)
        optimizer.lr = lr_at(step, lr)
        optimizer.step()
    return [p.data for p in parameters]


@every_configuration
def test_against_torch(ours, theirs, arguments):
    torch = pytest.importorskip("torch", reason="no torch: make setup EXTRAS=oracle")
    parameters = start()
    twins = [torch.tensor(p.data, dtype=torch.float64) for p in parameters]
    optimizer = getattr(torch.optim, theirs)(twins, **arguments)
    (group,) = optimizer.param_groups
    lr = group["lr"]
    for step in range(STEPS):
        for twin in twins:
            twin.grad = gradient(twin, step)
        group["lr"] = lr_at(step, lr)
        optimizer.step()
    for p, twin in zip(run(ours(parameters, **arguments), parameters), twins, strict=True):
        np.testing.assert_allclose(p, twin.numpy(), rtol=1e-12, atol=1e-12)


def by_hand(kind, p, lr=1e-3, momentum=0, nesterov=False, betas=(0.9, 0.999), eps=1e-8, weight_decay=None):
    """One number through the formulas of the docstrings, with the moments as sums over all past gradients."""
    decay = weight_decay if weight_decay is not None else 0.01 if kind is AdamW else 0
    past = []
    for step in range(STEPS):
        now = lr_at(step, lr)
        past.append(gradient(p, step) + (decay * p if kind is not AdamW else 0))
        age = list(zip(range(step, -1, -1), past, strict=True))
        if kind is SGD:
            v = sum(momentum**a * g for a, g in age)
            p -= now * (past[-1] + momentum * v if nesterov else v)
            continue
        m, v = (sum((1 - beta) * beta**a * g**k for a, g in age) for beta, k in zip(betas, (1, 2), strict=True))
        m_hat, v_hat = m / (1 - betas[0] ** (step + 1)), v / (1 - betas[1] ** (step + 1))
        p -= now * (m_hat / (math.sqrt(v_hat) + eps) + (decay * p if kind is AdamW else 0))
    return p


@every_configuration
def test_by_hand(ours, theirs, arguments):
    parameters = start()
    expected = [[by_hand(ours, float(v), **arguments) for v in p.data.ravel()] for p in parameters]
    for p, values in zip(run(ours(parameters, **arguments), parameters), expected, strict=True):
        np.testing.assert_allclose(p.ravel(), values, rtol=1e-11, atol=1e-12)


@every_configuration
def test_float32_stays_and_is_changed_in_place(ours, theirs, arguments):
    parameters = start(np.float32)
    optimizer = ours(parameters, **arguments)
    arrays = [p.data for p in parameters]
    run(optimizer, parameters, 3)
    assert all(p.data is array for p, array in zip(parameters, arrays, strict=True))
    kept = [array for arrays in optimizer.state.values() for array in arrays]
    assert {array.dtype for array in (*arrays, *kept)} == {np.dtype(np.float32)}


@every_configuration
def test_a_step_leaves_the_gradients_alone(ours, theirs, arguments):
    p = start()[0]
    optimizer = ours([p], **arguments)
    for _ in range(3):
        p.grad = np.ones(p.shape)
        kept = p.grad
        optimizer.step()
        assert p.grad is kept
        assert (kept == 1).all()
    optimizer.zero_grad()
    assert p.grad is None


def linear_model():
    model = g.Sequential(g.Linear(3, 2), g.Linear(2, 2)).initialize(0)
    return model, list(model.parameters())


def test_a_parameter_without_gradient_is_named_after_the_first_step_only():
    model, parameters = linear_model()
    optimizer = SGD(model.named_parameters())
    for p in parameters[:2]:
        p.grad = np.ones_like(p.data)
    before = model.state_dict()
    with pytest.raises(g.GpucnnError, match=r"no gradient reached 1\.weight, 1\.bias$") as error:
        optimizer.step()
    assert "requires_grad = False" in error.value.hint
    assert all(np.array_equal(before[key], value) for key, value in model.state_dict().items())
    for p in parameters:
        p.grad = np.ones_like(p.data)
    optimizer.step()
    parameters[0].grad = None  # a later step may leave one out
    before = model.state_dict()
    optimizer.step()
    same = {key: np.array_equal(before[key], value) for key, value in model.state_dict().items()}
    assert same == {"0.weight": True, "0.bias": False, "1.weight": False, "1.bias": False}


def test_parameters_without_names_are_numbered():
    _, parameters = linear_model()
    with pytest.raises(g.GpucnnError, match="no gradient reached parameter 0, parameter 1"):
        SGD(parameters).step()


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_a_frozen_parameter_is_left_alone(kind, before):
    """Frozen before the optimizer is made, or after."""
    model, parameters = linear_model()
    if not before:
        optimizer = kind(model.named_parameters(), weight_decay=0.1)
    parameters[0].requires_grad = False
    if before:
        optimizer = kind(model.named_parameters(), weight_decay=0.1)
    kept = model.state_dict()["0.weight"]
    for _ in range(2):
        optimizer.zero_grad()
        model(g.Tensor([[1.0, 1.0, 1.0]])).sum().backward()
        optimizer.step()
    assert np.array_equal(kept, parameters[0].data)
    assert not np.array_equal(parameters[1].data, 0)


def test_a_shared_parameter_is_updated_once():
    shared = g.Linear(2, 2)
    model = g.Sequential(shared, g.ReLU(), shared)
    before = shared.weight.data.copy()
    for p in model.parameters():
        p.grad = np.ones_like(p.data)
    SGD(model.named_parameters(), lr=0.5).step()
    np.testing.assert_allclose(shared.weight.data, before - 0.5, rtol=1e-6)


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda p: SGD([]), "no parameter that requires a gradient"),
        (lambda p: SGD([g.Parameter(np.ones(1), requires_grad=False)]), "no parameter that requires a gradient"),
        (lambda p: SGD(p, -0.1), "lr and weight_decay must be at least 0, got -0.1"),
        (lambda p: Adam(p, weight_decay=-1), "lr and weight_decay must be at least 0, got 0.001 and -1"),
        (lambda p: SGD(p, momentum=-0.5), "momentum must be at least 0 and below 1, got -0.5"),
        (lambda p: SGD(p, momentum=1), "momentum must be at least 0 and below 1, got 1"),
        (lambda p: SGD(p, nesterov=True), "nesterov needs a momentum above 0"),
        (lambda p: Adam(p, betas=(0.9, 1.0)), r"betas must be at least 0 and below 1, got \(0.9, 1.0\)"),
        (lambda p: AdamW(p, eps=-1e-8), "eps must be at least 0, got -1e-08"),
    ],
)
def test_constructor_errors(make, text):
    with pytest.raises(ValueError, match=text):
        make(start())


def test_an_optimizer_without_update():
    p = start()[0]
    p.grad = p.data
    with pytest.raises(NotImplementedError):
        Optimizer([p], 0.1, 0.0).step()


# the vectors


def steps_of(model, optimizer, count):
    """Train on something that depends on nothing but the weights."""
    for _ in range(count):
        for i, p in enumerate(model.parameters()):
            p.grad = gradient(p.data, i)
        optimizer.step()
    return model.state_dict()


def same(one, other):
    return all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_weights_loaded_after_the_optimizer_was_made(kind):
    model, _ = linear_model()
    optimizer = kind(model.named_parameters(), 0.1)
    start = model.state_dict()
    expected = steps_of(model, optimizer, 1)
    model, _ = linear_model()
    model.initialize(5)
    optimizer = kind(model.named_parameters(), 0.1)
    model.load_state_dict(start)
    assert same(steps_of(model, optimizer, 1), expected)
    model.initialize(5)
    model.load_state_dict(expected)
    assert same(model.state_dict(), expected)
    assert not same(steps_of(model, optimizer, 1), expected)


@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_a_model_that_moves_keeps_its_state(kind):
    def trained(move):
        model, _ = linear_model()
        model.to(g.CPU, np.float64)
        optimizer = kind(model.named_parameters(), 0.1, **({"momentum": 0.9} if kind is SGD else {}))
        steps_of(model, optimizer, 2)
        move(model)
        return steps_of(model, optimizer, 2), optimizer

    stayed, _ = trained(lambda model: None)
    moved, optimizer = trained(lambda model: model.to(g.Device(kernels="xp")))
    assert same(stayed, moved)
    smaller, optimizer = trained(lambda model: model.to(g.CPU, np.float32))
    assert all(np.abs(smaller[name] - stayed[name]).max() < 1e-5 for name in stayed)
    assert {array.dtype for arrays in optimizer.state.values() for array in arrays} == {np.dtype(np.float32)}


def test_parameters_of_two_dtypes():
    one, two = g.Parameter(np.ones(3, np.float32)), g.Parameter(np.ones(3))
    for p in (one, two):
        p.grad = np.ones_like(p.data)
    SGD([one, two], 0.5).step()
    assert (one.dtype, two.dtype) == (np.float32, np.float64)
    assert one.data.tolist() == two.data.tolist() == [0.5] * 3


def test_what_is_kept_can_be_read_and_written_by_name():
    model, parameters = linear_model()
    optimizer = Adam(model.named_parameters())
    steps_of(model, optimizer, 1)
    assert list(optimizer.state) == [name for name, _ in model.named_parameters()]
    for p, (m, v) in zip(parameters, optimizer.state.values(), strict=True):
        assert m.shape == v.shape == p.shape
        assert (m != 0).all() and (v > 0).all()
    optimizer.state["0.bias"][0][...] = 7
    assert (optimizer.state["0.bias"][0] == 7).all()


def test_a_gradient_that_is_missing_in_between_leaves_its_state_alone():
    model, parameters = linear_model()
    optimizer = SGD(model.named_parameters(), momentum=0.9)
    steps_of(model, optimizer, 1)
    kept = [np.array(v) for (v,) in optimizer.state.values()]
    for i, p in enumerate(parameters):
        p.grad = None if i == 1 else np.ones_like(p.data)
    parameters[3].requires_grad = False
    optimizer.step()
    left_alone = [np.array_equal(v, old) for (v,), old in zip(optimizer.state.values(), kept, strict=True)]
    assert left_alone == [False, True, False, True]


def test_two_optimizers_of_one_model():
    model, parameters = linear_model()
    before = parameters[0].data.copy()
    for optimizer in [SGD(model.named_parameters(), 0.5), SGD(model.named_parameters(), 0.25)] * 2:
        for p in parameters:
            p.grad = np.ones_like(p.data)
        optimizer.step()
    np.testing.assert_allclose(parameters[0].data, before - 1.5, rtol=1e-6)


@pytest.mark.parametrize("size", [10, 300_000])
@every_configuration
def test_the_kernels_of_the_cpu_do_what_the_reference_does(ours, theirs, arguments, size):
    def trained(kernels):
        start = np.linspace(-1, 1, size).astype(np.float32)
        model = g.Sequential(g.Linear(size, 1)).to(g.Device(kernels=kernels))
        weight = model.state_dict()
        model.load_state_dict(weight | {"0.weight": start[None], "0.bias": start[:1]})
        return run(ours(model.parameters(), **arguments), list(model.parameters()), 5)

    for one, other in zip(trained("cpu"), trained("xp"), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


# schedules

VALUES = [  # schedule, {step: factor by hand}
    (constant(), {0: 1, 10**6: 1}),
    (step_decay(3, 0.5), {0: 1, 2: 1, 3: 0.5, 5: 0.5, 6: 0.25}),
    (step_decay(2), {0: 1, 2: 0.1, 4: 0.01}),
    (cosine(4), {0: 1, 1: (1 + math.sqrt(0.5)) / 2, 2: 0.5, 3: (1 - math.sqrt(0.5)) / 2, 4: 0, 9: 0}),
    (one_cycle(11, 4 / 11, 0.1, 0.001), {0: 0.1, 1: 0.4, 3: 1, 10: 0.001, 20: 0.001}),
    (one_cycle(10, 0.3), {0: 0.1, 1: 0.55, 2: 1, 9: 0.001}),
    (one_cycle(5), {0: 1, 4: 0.001}),
    (one_cycle(2), {1: 0.001}),
    (one_cycle(1), {0: 0.001}),
    (one_cycle(4, 1.0), {0: 0.1, 3: 1, 7: 1}),
    (warm_up(3, constant()), {0: 0.25, 1: 0.5, 2: 0.75, 3: 1, 4: 1}),
    (warm_up(2, cosine(4)), {0: 1 / 3, 1: 2 / 3, 2: 1, 4: 0.5, 6: 0}),
    (warm_up(0, cosine(4)), {0: 1, 2: 0.5}),
]


@pytest.mark.parametrize("schedule, values", VALUES)
def test_schedule_by_hand(schedule, values):
    assert {step: schedule(step) for step in values} == pytest.approx(values, rel=1e-14, abs=1e-15)


def test_one_cycle_rises_then_falls():
    """The recipe of the main job: 20 % up from a tenth, down to a thousandth."""
    factors = [one_cycle(3900)(step) for step in range(3900)]
    top = factors.index(max(factors))
    assert (factors[0], top, factors[top], factors[-1]) == pytest.approx((0.1, 779, 1, 0.001))
    assert all(np.diff(factors[: top + 1]) > 0)
    assert all(np.diff(factors[top:]) < 0)


def torch_factors(make, steps):
    torch = pytest.importorskip("torch", reason="no torch: make setup EXTRAS=oracle")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    schedule = make(torch.optim.lr_scheduler, optimizer)
    factors = []
    for step in range(steps):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step + 1 < steps:
            schedule.step()
    return factors


def torch_one_cycle(steps, pct_start):
    arguments = {"anneal_strategy": "linear", "div_factor": 10, "final_div_factor": 100, "cycle_momentum": False}
    return lambda kinds, optimizer: kinds.OneCycleLR(optimizer, 1.0, steps, pct_start=pct_start, **arguments)


@pytest.mark.parametrize(
    "schedule, make, steps",
    [
        (step_decay(7, 0.3), lambda kinds, optimizer: kinds.StepLR(optimizer, 7, 0.3), 40),
        (cosine(50), lambda kinds, optimizer: kinds.CosineAnnealingLR(optimizer, 50), 51),
        (one_cycle(100), torch_one_cycle(100, 0.2), 100),
        (one_cycle(37), torch_one_cycle(37, 0.2), 37),  # the peak lies between two steps
        (one_cycle(3900), torch_one_cycle(3900, 0.2), 3900),
        (one_cycle(20, 0.5), torch_one_cycle(20, 0.5), 20),
        (warm_up(9, constant()), lambda kinds, optimizer: kinds.LinearLR(optimizer, 0.1, total_iters=9), 15),
    ],
    ids=["step", "cosine", "one cycle", "one cycle 37", "one cycle 3900", "one cycle half", "warm-up"],
)
def test_schedule_against_torch(schedule, make, steps):
    np.testing.assert_allclose([schedule(i) for i in range(steps)], torch_factors(make, steps), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    "make", [lambda: step_decay(0), lambda: cosine(0), lambda: one_cycle(0), lambda: one_cycle(10, 1.5)]
)
def test_schedule_errors(make):
    with pytest.raises(ValueError, match="must be"):
        make()


def test_two_parameters_of_one_name_are_an_error_and_one_given_twice_is_updated_once():
    one, two = g.Parameter(np.ones(1)), g.Parameter(np.ones(1))
    with pytest.raises(ValueError, match="two parameters are named w"):
        SGD([("w", one), ("w", two)], 0.1)
    for twice in ([("w", one), ("w", one)], [one, one], [("w", one), ("v", one)]):
        one.data, one.grad = np.ones(1), np.ones(1)
        SGD(twice, 0.1).step()
        assert one.data == pytest.approx(0.9)
