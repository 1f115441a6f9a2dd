"""`gpucnn reproduce`: what is claimed, how it is judged, and that runs are kept, resumed and honest."""

import json
import os
import re
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command import fail, gpucnn, succeed
from failures import saw

from gpucnn import CPU, data
from gpucnn.claims import CLAIMS, claim, convolution
from gpucnn.claims.claim import Above, Times, Within
from gpucnn.cli import claim_record
from gpucnn.data.cifar10 import CLASSES

pytestmark = pytest.mark.usefixtures("own_folder")

BENCH = Path(__file__).parents[1] / "bench"
RESULTS = BENCH / "results" / "claims"
SHAPES = {"mnist": (1, 28, 28), "digits": (1, 8, 8), "tinydigits": (1, 8, 8), "cifar10": (3, 32, 32)}
QUICK = "reproduce cnn-vs-mlp-digits --quick --threads 1 --output-dir out"
FILE = Path("out/cnn-vs-mlp-digits-quick.json")


@pytest.fixture
def random_pictures(monkeypatch):
    """MNIST and CIFAR-10 are random pictures, enough for a quick run."""
    rng = np.random.default_rng(0)
    for name in ("mnist", "cifar10"):
        x = rng.integers(0, 256, (200, *SHAPES[name]), np.uint8)
        channels = len(x[0])
        y = rng.integers(0, 10, 200)
        made = data.Dataset(name, x, y, x[:100], y[:100], CLASSES, (127.5,) * channels, (64.0,) * channels)
        monkeypatch.setitem(data.DATASETS, name, replace(data.DATASETS[name], load=lambda request, made=made: made))


def test_every_claim_runs(random_pictures):
    """In a few steps of each run, all of its code; what comes out is no verdict."""
    code, out, err = gpucnn("reproduce --all --quick --threads 1 --json")
    assert code == 0, err
    found = {record["claim"]: record for record in json.loads(out)["claims"]}
    assert list(found) == list(CLAIMS)
    for name, record in found.items():
        wanted = [(variant, 0) for variant in CLAIMS[name].variants]
        assert [(run["variant"], run["seed"]) for run in record["runs"]] == wanted
        assert record["verdict"] == "none, for --quick decides nothing"
        assert len(record["criteria"]) == len(CLAIMS[name].criteria)
        assert all(np.isfinite(run["train_loss"]) and run["epochs"] == 1 for run in record["runs"])
        for run in record["runs"]:
            network = CLAIMS[name].variants[run["variant"]]
            assert isinstance(network, str) or run["parameters"] == size_of(network, CLAIMS[name])
        assert json.loads(Path(f"runs/claims/{name}-quick.json").read_text()) == record
    assert len(list(Path("runs/claims").iterdir())) == len(CLAIMS)


def size_of(network, claim):
    """Parameters of one of the claim's own networks."""
    shape = SHAPES[claim.flags.split()[1]]
    return sum(parameter.data.size for parameter in network(shape, 10).parameters())


def run(variant, seed, **values):
    return {"variant": variant, "seed": seed, **values}


def test_criteria_judge_the_means_over_the_seeds():
    runs = [run("a", 0, test_accuracy=0.9), run("a", 1, test_accuracy=0.7), run("b", 0, test_accuracy=0.75)]
    assert Within("a", 0.79, 0.81).holds(runs)
    assert not Within("a", 0.81).holds(runs)
    assert not Within("a", 0.1, 0.79).holds(runs)
    assert Above("a", "b", 0.04).holds(runs)
    assert not Above("a", "b", 0.06).holds(runs)
    assert Above("b", "a", -0.06).holds(runs)
    assert not Above("b", "a", -0.04).holds(runs)
    sizes = [run("a", 0, parameters=100), run("b", 0, parameters=1000)]
    assert Times("b", "a", 10, "parameters").holds(sizes)
    assert not Times("b", "a", 10.1, "parameters").holds(sizes)
    assert not Times("a", "b", 1, "parameters").holds(sizes)


def test_criteria_in_words():
    assert str(Within("a", 0.65, 0.75)) == "a: test accuracy 65.0% to 75.0%"
    assert str(Within("a", 0, 1e-5, "spread")) == "a: spread at most 1e-05"
    assert str(Above("a", "b", 0.005)) == "a: test accuracy at least 0.5 points above that of b"
    assert str(Above("a", "b", 0)) == "a: test accuracy not below that of b"
    assert str(Above("a", "b", -0.05, "train_loss")) == "a: train loss at most 0.05 below that of b"
    assert str(Times("a", "b", 2, "parameters")) == "a: parameters at least 2 times that of b"


def test_runs_are_those_of_train():
    """The same flags and seed give the same numbers, to the last bit."""
    succeed("reproduce cnn-vs-mlp-digits --quick --threads 1 --output-dir out")
    found = json.loads(FILE.read_text())["runs"][1]
    assert found["variant"] == "mlp"
    few = data.load("tinydigits").first(128, 64)
    entry = replace(data.DATASETS["tinydigits"], load=lambda request: few)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(data.DATASETS, "tinydigits", entry)
        out = succeed(
            "train --dataset tinydigits --model tinydigits-mlp --epochs 1 --threads 1 --output-dir run --json"
        )
    trained = json.loads(out)
    for name in ("train_loss", "test_loss", "train_accuracy", "test_accuracy", "parameters"):
        assert found[name] == trained[name]


@pytest.fixture
def trained(monkeypatch):
    """The (variant, seed) of each run that is made."""
    made, measured = [], claim_record.measured
    monkeypatch.setattr(claim_record, "measured", lambda *each: made.append(each[1:3]) or measured(*each))
    return made


def test_runs_that_are_done_are_not_repeated(trained):
    succeed(QUICK)
    whole = FILE.read_text()
    record = json.loads(whole)
    FILE.write_text(json.dumps(record | {"runs": record["runs"][:1], "verdict": None}))
    trained.clear()
    succeed(QUICK)
    assert trained == [("mlp", 0)]
    again = json.loads(FILE.read_text())
    for one, other in zip(record["runs"], again["runs"], strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    trained.clear()
    before = FILE.read_bytes()
    assert "cnn-vs-mlp-digits: none" in succeed(QUICK)
    assert (trained, FILE.read_bytes()) == ([], before)


def test_runs_of_another_definition_are_made_anew(trained, monkeypatch):
    succeed(QUICK)
    changed = replace(CLAIMS["cnn-vs-mlp-digits"], criteria=[Above("cnn", "mlp", 0.01)])
    monkeypatch.setitem(CLAIMS, "cnn-vs-mlp-digits", changed)
    trained.clear()
    succeed(QUICK)
    assert len(trained) == 2
    assert json.loads(FILE.read_text())["definition"]["criteria"] == [str(changed.criteria[0])]


def test_runs_by_other_kernels_are_made_anew(trained):
    succeed(QUICK)
    trained.clear()
    succeed(f"{QUICK} --kernels xp")
    assert len(trained) == 2
    assert {*json.loads(FILE.read_text())["kernels"].values()} == {"xp"}


def test_the_definition_holds_the_networks_of_a_claim_but_no_remarks(tmp_path):
    networks = CLAIMS["weight-sharing"].definition()["variants"]
    assert "Conv2d(channels, first, 5)" in networks["cnn 4-8"]  # of the class above it
    assert "maps = (4, 8)" in networks["cnn 4-8"]
    assert "Half the maps" not in networks["cnn 4-8"]


@pytest.mark.failure("Ctrl-C while claims are put to the test")
def test_ctrl_c_keeps_the_runs_that_are_done(monkeypatch, trained):
    measured = claim_record.measured

    def interrupted(*each):
        if trained:
            os.kill(os.getpid(), signal.SIGINT)
        return measured(*each)

    monkeypatch.setattr(claim_record, "measured", interrupted)
    code, out, err = gpucnn(QUICK)
    assert code == 130
    record = json.loads(FILE.read_text())
    assert ([run["variant"] for run in record["runs"]], record["verdict"]) == (["cnn"], None)
    assert f"{QUICK}\n" in out
    saw(code, err + out)
    monkeypatch.setattr(claim_record, "measured", measured)
    trained.clear()
    succeed(QUICK)
    assert trained == [("mlp", 0)]


def test_a_list():
    out = succeed("reproduce --list")
    assert out == succeed("reproduce")
    assert [line.split()[0] for line in out.splitlines()[:-1]] == list(CLAIMS)
    assert not Path("runs").exists()


@pytest.mark.failure("a claim that there is not")
def test_an_unknown_claim():
    fail("reproduce weight-sharin", 2, "unknown claim 'weight-sharin'", "did you mean weight-sharing")


@pytest.mark.failure("the result of a claim is damaged")
def test_a_damaged_result():
    FILE.parent.mkdir()
    for text in ("{", "[]", "{}"):
        FILE.write_text(text)
        fail(QUICK, 2, "holds no result of a claim", "remove it")


def test_missing_data(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fail(
        "reproduce lenet-mnist --quick --no-download",
        4,
        "no mnist in",
        "put train-images-idx3-ubyte.gz, .* into .* by hand",
    )


def test_a_folder_that_cannot_be_is_refused_before_the_first_run(trained):
    Path("file").touch()
    fail("reproduce cnn-vs-mlp-digits --output-dir file/out", 2, "cannot write to file/out", "--output-dir")
    assert not trained


def test_networks_of_claims_have_the_parameters_that_they_tell():
    told = 0
    for each in CLAIMS.values():
        for network in each.variants.values():
            count = not isinstance(network, str) and re.search(r"([\d,]+) parameters", network.__doc__ or "")
            if count:
                told += 1
                assert size_of(network, each) == int(count[1].replace(",", "")), network
    assert told >= 12


def test_equal_filters_begin_equal_and_are_heard_equally():
    model = convolution.EqualFilters((1, 8, 8), 10).initialize(3)
    filters, bias, weight, _ = (parameter.numpy() for parameter in model.parameters())
    assert np.all(filters == filters[0]) and np.all(bias == bias[0]) and np.ptp(filters[0]) > 0
    by_filter = weight.reshape(10, 8, 9)
    assert np.all(by_filter == by_filter[:, :1]) and np.ptp(by_filter[:, 0]) > 0


def test_pictures_are_moved_in_four_directions_and_black_comes_in(monkeypatch):
    x = np.random.default_rng(0).integers(1, 256, (3, 1, 9, 10), np.uint8)
    test = data.Batches(x, np.arange(3), 2, device=CPU, mean=[10.0], std=[3.0])
    seen = []
    monkeypatch.setattr(convolution, "evaluate", lambda model, batches: seen.append(batches) or (0.0, len(seen) / 100))
    found = convolution.shifted_accuracy(claim.Trained(None, test, ()))
    assert list(found) == [f"accuracy_{shift}_px" for shift in (1, 2, 3, 4, 6)]
    assert found["accuracy_1_px"] == pytest.approx(0.025)
    for i, shift in enumerate((1, 2, 3, 4, 6)):
        moves = {(0, shift), (0, -shift), (shift, 0), (-shift, 0)}
        for batches in seen[4 * i : 4 * i + 4]:
            moves -= {move for move in moves if np.array_equal(batches.x, moved(x, *move))}
            assert (batches.mean.tolist(), batches.std.tolist()) == ([10.0], [3.0])
        assert not moves


def moved(x, down, right):
    y = np.zeros_like(x)
    for i in range(x.shape[2]):
        for j in range(x.shape[3]):
            if 0 <= i - down < x.shape[2] and 0 <= j - right < x.shape[3]:
                y[:, :, i, j] = x[:, :, i - down, j - right]
    return y


@pytest.mark.parametrize("file", sorted(RESULTS.glob("*.json")), ids=lambda file: file.stem)
def test_results_in_the_documents_are_of_these_claims(file):
    """Nobody changed a claim, its budget or its thresholds after the runs, and the verdict follows from them."""
    record = json.loads(file.read_text())
    each = CLAIMS[record["claim"]]
    assert record["definition"] == json.loads(json.dumps(each.definition()))
    assert sorted((run["variant"], run["seed"]) for run in record["runs"]) == sorted(each.runs())
    holds = all(criterion.holds(record["runs"]) for criterion in each.criteria)
    assert record["verdict"] == ("reproduced" if holds else "not reproduced at this budget")


def test_only_runs_to_the_end_get_into_the_documents(monkeypatch):
    """Neither quick ones nor those of a claim that is only begun."""
    monkeypatch.syspath_prepend(BENCH)
    import claims_table

    folder = Path("out")
    succeed(QUICK)
    assert claims_table.records(folder) == []
    quick = json.loads(FILE.read_text())
    begun, whole = quick | {"verdict": None}, quick | {"verdict": "reproduced"}
    (folder / "cnn-vs-mlp-digits.json").write_text(json.dumps(begun))
    assert claims_table.records(folder) == []
    (folder / "cnn-vs-mlp-digits-cuda.json").write_text(json.dumps(whole))
    assert claims_table.records(folder) == [whole]
