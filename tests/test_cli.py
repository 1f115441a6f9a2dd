"""The command line as a user meets it: what it prints, writes and returns, for good input and bad."""

import contextlib
import json
import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from command import fail, gpucnn, succeed

import gpucnn.functional as F
from gpucnn import CPU, Tensor
from gpucnn.checkpoint import load_weights, save_weights
from gpucnn.cli.resume import settings
from gpucnn.cli.run_folder import RunFolder, restore
from gpucnn.data import load

Image = pytest.importorskip("PIL.Image", reason="no Pillow: make setup")

TINY = "train --dataset tinydigits --epochs 2 --seed 3"


pytestmark = pytest.mark.usefixtures("empty_folder")


def test_train_leaves_a_whole_run(empty_folder):
    code, out, err = gpucnn(f"{TINY} --output-dir run --json")
    assert code == 0, err
    assert out.count("\n") == 1
    result = json.loads(out)
    assert {"test_accuracy", "test_loss", "train_loss", "epochs", "images_per_second", "parameters"} <= result.keys()
    assert {"device", "kernels", "seed", "run_dir"} <= result.keys()
    assert (result["parameters"], result["epochs"], result["seed"]) == (810, 2, 3)
    assert {path.name for path in Path("run").iterdir()} == {
        "best.safetensors",
        "config.toml",
        "curves.png",
        "env.json",
        "last.safetensors",
        "metrics.csv",
        "metrics.jsonl",
        "previous.safetensors",
        "samples",
    }
    metrics = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [m["epoch"] for m in metrics] == [1, 2]
    assert metrics[-1]["test_accuracy"] == result["test_accuracy"]
    assert len(Path("run/metrics.csv").read_text().splitlines()) == 3
    with Image.open("run/curves.png") as curves:
        assert curves.size == (1080, 432)
    assert json.loads(Path("run/env.json").read_text())["device"] == "cpu"
    first = next(line for line in err.splitlines() if not line.startswith("compiling "))
    assert first.startswith("tinydigits-cnn (810 parameters) on tinydigits (1,000 + 200 images, 1x8x8)")
    assert len([line for line in err.splitlines() if line.startswith("epoch ")]) == 2


def test_same_seed_same_bits_and_the_config_of_a_run_repeats_it():
    succeed(f"{TINY} --output-dir one")
    succeed(f"{TINY} --output-dir two")
    succeed("train --config one/config.toml --output-dir three")
    succeed(f"{TINY} --seed 4 --output-dir other")
    one, two, three, other = (Path(run, "last.safetensors").read_bytes() for run in ("one", "two", "three", "other"))
    assert one == two == three
    assert one != other


def test_the_next_command_works_when_pasted():
    out = succeed(f"{TINY} --output-dir 'my run'")
    for _ in range(3):  # train -> predict -> eval -> predict
        command = shlex.split(out.splitlines()[-1].removeprefix("next: "))
        assert command[1:4] == ["-m", "gpucnn", "predict"] or command[-1] == "my run"
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_eval_and_predict_agree_with_training():
    result = json.loads(succeed(f"{TINY} --epochs 20 --output-dir run --json"))
    assert result["test_accuracy"] > 0.7
    again = json.loads(succeed("eval run --json"))
    assert again["test_accuracy"] == result["test_accuracy"]
    assert again["test_loss"] == pytest.approx(result["test_loss"], rel=1e-6)
    samples = sorted(Path("run/samples").iterdir())
    predictions = json.loads(succeed(f"predict run --top 10 --json {' '.join(map(str, samples))}"))["predictions"]
    assert [p["image"] for p in predictions] == list(map(str, samples))
    for prediction in predictions:
        probabilities = [each["probability"] for each in prediction["labels"]]
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        assert probabilities == sorted(probabilities, reverse=True)
    model, _ = restore(Path("run"), CPU)
    expected = F.softmax(model(Tensor(load("tinydigits").test_x[:4] / np.float32(16)))).numpy()
    for prediction, p in zip(predictions, expected, strict=True):
        for each in prediction["labels"]:
            assert each["probability"] == pytest.approx(p[int(each["label"])], abs=1e-6)
    alone = json.loads(succeed("eval run/last.safetensors --json"))
    assert alone["test_accuracy"] == result["test_accuracy"]


def test_digits_are_enlarged_for_lenet_and_the_first_line_says_so():
    line = succeed("train --dataset digits --limit-batches 1 --epochs 1").splitlines()[0]
    assert "enlarged 4x to 32x32" in line
    assert "cpu (auto: CuPy is not installed)" in line or "cuda" in line
    assert "kernels cpu, xp for " in line or "cuda" in line


def test_a_folder_of_pictures_trains_and_predicts():
    rng = np.random.default_rng(0)
    for colour, value in (("dark", 60), ("bright", 190)):
        Path("pictures", colour).mkdir(parents=True)
        for i in range(10):
            pixels = np.clip(rng.normal(value, 20, (20 + i, 30, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(f"pictures/{colour}/{i}.png")
    flags = "--model linear --epochs 10 --batch-size 4 --lr 0.001 --output-dir run"
    succeed(f"train --dataset folder:pictures {flags}")
    assert "bright 1" in succeed("predict run pictures/bright/3.png")
    assert "dark 1" in succeed("predict run pictures/dark/4.png")


def test_dry_run_writes_nothing(empty_folder):
    assert "nothing was written" in succeed(f"{TINY} --dry-run")
    assert list(empty_folder.iterdir()) == []


def test_the_recipe_of_a_data_set_yields_to_flags_and_config():
    Path("c.toml").write_text('momentum = 0.5\nlr-scheduler = "cosine"\n')
    succeed("train --dataset tinydigits --config c.toml --epochs 1 --batch-size 100 --output-dir run")
    config = tomllib.loads(Path("run/config.toml").read_text())
    assert (config["model"], config["lr"]) == ("tinydigits-cnn", 0.01)  # the recipe
    assert (config["momentum"], config["lr_scheduler"]) == (0.5, "cosine")  # the file
    assert (config["epochs"], config["batch_size"]) == (1, 100)  # the flags


@pytest.mark.parametrize("first, then", [("--recipe fast", "--config c.toml"), ("--config c.toml", "--recipe fast")])
def test_a_named_recipe_yields_to_config_and_flags_in_any_order(first, then):
    Path("c.toml").write_text("momentum = 0.5\nlabel-smoothing = 0.3\n")
    succeed(
        f"train {first} {then} --dataset tinydigits --model tinydigits-cnn --epochs 1 --momentum 0.7 --output-dir run"
    )
    config = tomllib.loads(Path("run/config.toml").read_text())
    assert (config["batch_size"], config["nesterov"], config["augment"]) == (256, True, "crop,flip")  # the recipe
    assert (config["label_smoothing"], config["momentum"]) == (0.3, 0.7)  # the file, the flag
    assert config["lr_scheduler"] == "one-cycle"  # the recipe that was named, not the data set's


def test_an_unknown_recipe():
    fail("train --recipe slow", 2, "'slow' is not 'fast'")


@pytest.mark.parametrize(
    "flags",
    [
        "--optimizer adam --lr 0.001",
        "--optimizer adamw --lr 0.001 --wd 0.01",
        "--momentum 0.9 --nesterov",
        "--lr-scheduler step --lr-step-size 1 --lr-gamma 0.5",
        "--lr-scheduler cosine --lr-warmup-epochs 1",
        "--augment crop,flip,cutout",
        "--label-smoothing 0.1",
        "--model mlp --device cpu --kernels xp",
        "--model tinydigits-mlp --kernels conv2d=xp",
    ],
)
def test_each_flag_changes_the_outcome(flags):
    plain = json.loads(succeed(f"{TINY} --output-dir a --json"))
    changed = json.loads(succeed(f"{TINY} --output-dir b --json {flags}"))
    assert np.isfinite(changed["test_loss"])
    assert changed["test_loss"] != plain["test_loss"]


def test_summary_and_doctor_and_verify():
    assert "62,006" in succeed("summary lenet")
    assert json.loads(succeed("summary alexnet-lite --json"))["parameters"] == 2_310_154
    assert json.loads(succeed("summary lenet --input-shape 1x32x32 --json"))["parameters"] == 61_706
    assert "tinydigits-cnn" in succeed("summary")
    assert json.loads(succeed("doctor --json"))["numpy"]["found"] == np.__version__
    verified = json.loads(succeed("data verify digits --json"))
    assert (verified["train"]["images"], verified["test"]["images"]) == (1437, 360)


@pytest.mark.parametrize(
    ("line", "code", "patterns"),
    [
        ("train --model lenett --dataset digits", 2, ["unknown model 'lenett'", "did you mean lenet"]),
        ("train --dataset cifar-10", 2, ["unknown data set 'cifar-10'", "did you mean cifar10"]),
        ("train --epoch 3", 2, ["No such option", "--help"]),
        ("train --epochs 0", 2, ["epochs"]),
        ("train --lr zero", 2, ["'zero' is not a valid float"]),
        ("train --lr 0", 2, ["lr"]),
        ("trian", 2, ["trian"]),
        ("train --no-download", 4, ["no cifar10", "--dataset digits"]),
        ("train --data-path nowhere", 4, ["nowhere does not exist"]),
        ("train --device cuda --dataset digits", 3, ["--device cuda", "CuPy|GPU", "make setup|--device cpu"]),
        ("train --device tpu --dataset digits", 2, ["unknown device 'tpu'"]),
        ("train --device cpu --kernels raw --dataset digits", 2, ["cpu has no kernels 'raw'", "xp"]),
        ("train --kernels conv3d=xp --dataset digits", 2, ["no op named conv3d", "conv2d"]),
        ("train --dataset digits --augment crop,flop", 2, ["unknown augmentation 'flop'", "did you mean flip"]),
        ("train --dataset digits --nesterov --momentum 0", 2, ["--nesterov needs a momentum"]),
        ("train --dataset digits --epochs 2 --lr-warmup-epochs 2", 2, ["takes all of --epochs"]),
        ("train --model lenet-1998 --dataset synthetic:64x3x32x32", 2, [r"1 channel\(s\), these have 3"]),
        ("train --model lenet --dataset synthetic:64x3x20x20", 2, ["20x20", "32x32"]),
        ("train --config nowhere.toml", 2, ["nowhere.toml: No such file"]),
        ("eval nowhere", 4, ["no weights at nowhere"]),
        ("predict nowhere a.png", 4, ["no weights at nowhere"]),
        ("predict", 2, ["Missing argument 'RUN'"]),
        ("summary lenet --input-shape 3x32", 2, ["3x32' is no shape"]),
        ("summary lenet --input-shape 3x8x8", 2, ["32x32, these have 8x8"]),
        ("summary lenet --input-shape 00x32x32", 2, ["no shape"]),
        ("train --dataset digits --lr nan", 2, ["'nan' is not a finite number"]),
        ("train --dataset digits --label-smoothing nan", 2, ["not a finite number"]),
        ("train --dataset synthetic:99999999999999999999x3x32x32", 2, ["has more than", "fewer images"]),
        ("data verify mnist", 4, ["no mnist", "--dataset digits"]),
    ],
)
def test_bad_input(line, code, patterns):
    fail(line, code, *patterns)


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("epoch = 3", r"unknown key in c\.toml: 'epoch'\nhint: did you mean epochs"),
        ("epochs = [", "is no TOML"),
        ("epochs = 'many'", "epochs = 'many' in c.toml has the wrong type\nhint: give it a whole number"),
        ("epochs = 2.7", "wrong type"),
        ("epochs = true", "wrong type"),
        ("epochs = 0", "0 is not in the range"),
        ("lr = nan", "not a finite number"),
        ("nesterov = 2", "true or false"),
        ('augment = ["crop"]', "a text in quotes"),
        ("config = 'c.toml'", "unknown key"),
        ("recipe = 'fast'", "unknown key"),
        ("epochs = " + "9" * 5000, "is no TOML"),
        ("epochs = " + "[" * 5000, "is no TOML: maximum recursion depth"),
        ("epochs = " + "[" * 50 + "]" * 50, r"epochs = \[+\.\.\.\]+ in c.toml has the wrong type"),
        ("#" * 70_000, "has more than 65,536 characters"),
    ],
)
def test_bad_config(text, pattern):
    Path("c.toml").write_text(text)
    fail("train --dataset digits --config c.toml", 2, pattern)


def test_an_output_folder_that_exists_or_cannot_be_written():
    Path("taken").mkdir()
    Path("taken/note").write_text("mine")
    Path("file").write_text("mine")
    fail(f"{TINY} --output-dir taken", 2, "--output-dir taken exists already", "--overwrite")
    fail(f"{TINY} --output-dir file", 2, "--output-dir file exists already")
    fail(f"{TINY} --output-dir file/run", 2, "cannot write to file/run")
    fail(f"{TINY} --output-dir /proc/run", 2, "cannot write to /proc/run")
    succeed(f"{TINY} --output-dir taken --overwrite")
    assert Path("taken/note").read_text() == "mine"


def test_names_with_control_characters_do_not_reach_the_terminal():
    fail("predict nowhere 'a\x1b[31m\n.png'", 4, "no weights at nowhere")
    fail("train --dataset 'x\x1b[2J\nerror fake'", 2, r"unknown data set 'x\\x1b\[2J\\nerror fake'")
    fail("train --dataset 'folder:\x1b[2J\n'", 4, r"\\x1b\[2J\\n is not a folder")


def test_predict_refuses_what_is_no_image():
    succeed(f"{TINY} --output-dir run")
    Path("note.png").write_text("not an image")
    fail("predict run note.png", 4, r"note\.png is not a picture")
    fail("predict run missing.png", 4, r"missing\.png does not exist")


def test_weights_that_do_not_go_with_the_data():
    succeed(f"{TINY} --output-dir run")
    fail("eval run --dataset synthetic:64x3x8x8", 2, "was trained for 1 channels", "has 3")
    for name in "abc":
        Path("pictures", name).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (32, 32)).save(f"pictures/{name}/{i}.png")
    succeed("train --model linear --dataset synthetic:64x3x32x32 --epochs 1 --output-dir other")
    fail("eval other --dataset folder:pictures", 2, "was trained for 10 classes", "evaluate it on synthetic:64")
    succeed("train --model linear --dataset folder:pictures --epochs 1 --output-dir three")
    shutil.rmtree("pictures/c")
    fail("eval three", 2, "was trained for 3 classes", "has 2", "bring the data back")
    Path("other/last.safetensors").write_bytes(b"broken")
    fail("eval other", 4, "not a readable weights file")


def test_divergence_keeps_the_last_good_weights():
    code, _, err = gpucnn(f"{TINY} --lr 1e30 --output-dir run")
    assert code == 5
    assert re.search(r"^error: the loss is (nan|inf) in epoch 1", err, re.MULTILINE)
    assert re.search(r"hint: use a smaller learning rate.*last good weights, after epoch 0, are in run", err)
    state, meta = load_weights(Path("run/last.safetensors"))
    assert meta["epoch"] == 0
    assert all(np.isfinite(array).all() for array in state.values())


def test_divergence_in_the_last_step_is_seen_on_the_test_images():
    code, out, err = gpucnn(f"{TINY} --lr 1e30 --limit-batches 1 --output-dir run --json")
    assert code == 5
    assert out == ""
    assert "on the test images after epoch 1" in err
    assert load_weights(Path("run/last.safetensors"))[1]["epoch"] == 0


def test_overwrite_leaves_no_samples_of_the_old_run():
    succeed(f"{TINY} --output-dir run")
    Path("run/samples/old.png").touch()
    succeed(f"{TINY} --output-dir run --overwrite")
    assert len(list(Path("run/samples").iterdir())) == 4


@pytest.mark.parametrize(
    "change",
    [
        {"model": "none"},
        {"model": ["lenet"]},
        {"classes": ["a", "b"]},
        {"input_shape": [1, 8]},
        {"mean": [1.0, 2.0]},
        {"std": [0.0]},
        {"epoch": None, "white": ...},
        {"model": "mlp", "input_shape": [3, 4000, 4000]},
        {"model": "mlp", "input_shape": [3, 2000, 2000], "mean": [0.0] * 3, "std": [1.0] * 3},
        {"classes": ["a"] * 100_000},
        {"image_size": [100_000, 100_000]},
        {"image_size": [8, -8]},
        {"white": 0},
        {"mean": ["0"]},
        {"mean": [10**400]},
    ],
)
def test_weights_with_a_strange_description(change):
    succeed(f"{TINY} --output-dir run")
    state, meta = load_weights(Path("run/last.safetensors"))
    changed = {key: value for key, value in (meta | change).items() if value is not ...}
    save_weights(Path("run/last.safetensors"), state, changed)
    fail("eval run", 4, r"run/last.safetensors holds no model of this gpucnn")


def test_eval_finds_the_data_where_training_did():
    for name in ("a b", "c"):
        Path("my pictures", name).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (32, 32)).save(f"my pictures/{name}/{i}.png")
    succeed("train --model linear --dataset folder --data-path 'my pictures' --epochs 1 --output-dir run")
    assert "test accuracy" in succeed("eval run")


def test_debug_shows_the_traceback():
    code, _, err = gpucnn("train --debug --model lenett --dataset digits")
    assert code == 2
    assert "Traceback" in err
    assert "error: unknown model 'lenett'" in err


def test_a_terminal_gets_a_bar():
    """On a pseudo-terminal a bar with loss, accuracy, speed and time left is drawn."""
    shown, terminal = pty.openpty()
    command = [sys.executable, "-m", "gpucnn", *shlex.split(TINY), "--epochs", "60", "--output-dir", "run"]
    env = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal, env=env)
    os.close(terminal)
    pieces = []
    with contextlib.suppress(OSError):  # the end of a pseudo-terminal
        while piece := os.read(shown, 1 << 16):
            pieces.append(piece)
    os.close(shown)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", b"".join(pieces).decode())
    assert process.wait() == 0, text
    assert re.search(r"epoch \d+/60 .*\d+/1860 loss \d\.\d+  accuracy \d+\.\d% [\d,]+ images/s \d+:\d\d:\d\d", text)
    assert "test accuracy" in text


def test_help_is_quick_and_loads_no_gpu_library():
    code = (
        "import sys\nfrom gpucnn.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'numba', 'cupy', 'torch', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "train" in done.stdout


def test_the_written_configuration_is_read_back(tmp_path):
    config = {
        "data_path": Path('odd "\\ \t\x7fä😀'),
        "lr": 1e-30,
        "seed": 2**64 - 1,
        "nesterov": True,
        "limit_batches": None,
    }
    RunFolder(tmp_path).describe(settings(config), CPU)
    read = tomllib.loads((tmp_path / "config.toml").read_text())
    assert read == {"data_path": str(config.pop("data_path")), "lr": 1e-30, "seed": 2**64 - 1, "nesterov": True}
