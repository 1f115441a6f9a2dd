"""What users see of input that is missing, damaged or hostile; each case is a row of docs/failures.md."""

import gzip
import os
import pickle
import struct
import sys
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from command import fail, gpucnn
from data_files import write_idx, write_mnist
from failures import saw
from safetensors.numpy import save_file

from gpucnn.backend import DeviceError
from gpucnn.checkpoint import save_weights
from gpucnn.models import MODELS

Image = pytest.importorskip("PIL.Image", reason="no Pillow: make setup")

pytestmark = pytest.mark.usefixtures("empty_folder")


def described(**changes):
    """run/last.safetensors, of tinydigits-cnn; `changes` go into its description."""
    shape = (1, 8, 8)
    meta = {
        "model": "tinydigits-cnn", "input_shape": shape, "image_size": shape[1:], "classes": list("0123456789"),
        "mean": [0.0], "std": [16.0], "white": 16, "dataset": "digits", "data_path": None, "seed": 0, "epoch": 1,
    }  # fmt: skip
    Path("run").mkdir()
    state = MODELS["tinydigits-cnn"](shape, 10).initialize(0).state_dict()
    save_weights(Path("run/last.safetensors"), state, meta | changes)
    return state


def picture(path, size=(9, 9), **options):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path, **options)
    return Path(path)


@pytest.mark.failure("no network, and the data are not there")
def test_no_network(monkeypatch):
    def refuse(*_, **__):
        raise OSError("Network is unreachable")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    code, _, err = gpucnn("train --dataset mnist")
    assert code == 4
    saw(code, err, (str(Path("cache").absolute()), "CACHE"))


@pytest.mark.failure("the data are not there, and `--no-download`")
def test_no_data():
    code, _, err = gpucnn("train --no-download")
    assert code == 4
    saw(code, err, (str(Path("cache").absolute()), "CACHE"))


def members(*odd):
    """cifar.tar.gz with these members, (name, size, type), all zeros."""
    with gzip.open("cifar.tar.gz", "wb", 1) as out:
        for name, size, kind in odd:
            info = tarfile.TarInfo(name)
            info.size, info.type = size, kind
            out.write(info.tobuf())
            for start in range(0, size, 1 << 20):
                out.write(bytes(min(1 << 20, size - start)))
            out.write(bytes(-size % 512))
        out.write(bytes(1024))


TRAIN = "train --data-path cifar.tar.gz"


@pytest.mark.failure("an archive is damaged")
def test_a_damaged_archive():
    members(("x", 9000, b"0"))
    content = bytearray(Path("cifar.tar.gz").read_bytes())
    content[-6] ^= 1
    Path("cifar.tar.gz").write_bytes(content)
    fail(TRAIN, 4)


@pytest.mark.failure("an archive holds paths that lead elsewhere, and links")
def test_an_archive_with_traversal():
    members(("../../escaped", 10, b"0"), ("/tmp/absolute", 10, b"0"), ("cifar-10-batches-bin/test_batch.bin", 0, b"2"))
    fail(TRAIN, 4)


@pytest.mark.failure("an archive is a bomb: 300 kB that unpack to 300 MB")
def test_an_archive_that_is_a_bomb():
    members(("bomb", 300 << 20, b"0"))
    fail(TRAIN, 4)


@pytest.mark.failure("a pickle that would run a program")
def test_an_evil_pickle():
    class Evil:
        def __reduce__(self):
            return os.system, ("touch marker",)

    for stem in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        file = Path("cifar-10-batches-py", stem)
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(pickle.dumps({"labels": [1], "data": Evil()}, 2))
    fail("train --data-path cifar-10-batches-py", 4)


@pytest.mark.failure("a label that no class has")
def test_a_label_out_of_range():
    write_mnist(Path("m"))
    write_idx(Path("m/train-labels-idx1-ubyte.gz"), np.full(30, 11, np.uint8))
    fail("train --dataset mnist --data-path m", 4)


@pytest.mark.failure("an IDX file promises more than it holds")
def test_an_idx_file_that_lies():
    write_mnist(Path("m"))
    Path("m/train-images-idx3-ubyte.gz").write_bytes(gzip.compress(struct.pack(">4I", 0x803, 2**31, 28, 28), mtime=0))
    fail("train --dataset mnist --data-path m", 4)


FOLDER = "train --model linear --dataset folder:pictures"


@pytest.mark.failure("pictures in one folder, without classes")
def test_a_folder_without_classes():
    picture("pictures/1.png")
    fail(FOLDER, 4)


@pytest.mark.failure("a picture among the data cannot be read")
def test_a_folder_with_a_damaged_picture():
    for i in range(4):
        picture(f"pictures/{'ab'[i % 2]}/{i}.png")
    Path("pictures/b/9.jpg").write_bytes(b"nothing")
    fail(FOLDER, 4, "9.jpg")


def text(path):
    Path(path).write_text("meow")


def bomb(path):
    good = picture(path).read_bytes()
    header = b"IHDR" + struct.pack(">II", 60_000, 60_000) + good[24:29]
    Path(path).write_bytes(good[:12] + header + struct.pack(">I", zlib.crc32(header)) + good[33:])


def many_scans(path):
    content = picture(path, progressive=True).read_bytes()
    last = content.rindex(b"\xff\xda")
    Path(path).write_bytes(content[:last] + content[last:-2] * 1000 + content[-2:])


@pytest.mark.parametrize(
    ("path", "make"),
    [
        pytest.param("cat.png", None, marks=pytest.mark.failure("`predict`: no such picture")),
        pytest.param("cat.png", text, marks=pytest.mark.failure("`predict`: a file that is no picture")),
        pytest.param("cat.png", bomb, marks=pytest.mark.failure("`predict`: a picture of 3.6 gigapixels in 100 bytes")),
        pytest.param("cat.jpg", many_scans, marks=pytest.mark.failure("`predict`: a JPEG of a thousand scans")),
        pytest.param("cat.png", os.mkfifo, marks=pytest.mark.failure("`predict`: a pipe, which may never end")),
        pytest.param("cats", os.mkdir, marks=pytest.mark.failure("`predict`: a folder")),
    ],
)
def test_pictures(path, make):
    described()
    if make:
        make(path)
    fail(f"predict run {path}", 4)


GIGABYTE = {"model": "mlp", "input_shape": [1, 700, 700], "image_size": [700, 700]}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"model": "lenet6"}, marks=pytest.mark.failure("a run is of a model that there is not")),
        pytest.param({"classes": ["a", "b"]}, marks=pytest.mark.failure("a run has other classes than its weights")),
        pytest.param(GIGABYTE, marks=pytest.mark.failure("a run claims a model of a gigabyte")),
        pytest.param({"image_size": [99999] * 2}, marks=pytest.mark.failure("a run claims pictures of ten gigapixels")),
        pytest.param({"mean": ["0"]}, marks=pytest.mark.failure("a run has a mean that is no number")),
    ],
)
def test_descriptions_that_lie(changes):
    described(**changes)
    fail("eval run", 4)


LIE = struct.pack("<Q", 1 << 40) + b"{}"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("w.safetensors", LIE, marks=pytest.mark.failure("a weights file lies about its length")),
        pytest.param("w.pth", b"\x80\x02}q\x00.", marks=pytest.mark.failure("a weights file is a pickle")),
        pytest.param("nowhere", None, marks=pytest.mark.failure("no such run")),
    ],
)
def test_weights_files(name, content):
    if content is not None:
        Path(name).write_bytes(content)
    fail(f"eval {name}", 4)


@pytest.mark.failure("`eval` of weights alone, without the model that they are of")
def test_weights_alone():
    save_file(described(), "w.safetensors")
    fail("eval w.safetensors", 4)


@pytest.mark.parametrize(
    ("model", "classes"),
    [
        pytest.param("tinydigits-cnn", 4, marks=pytest.mark.failure("`--weights` of other classes")),
        pytest.param("tinydigits-mlp", 10, marks=pytest.mark.failure("`--weights` of another model")),
    ],
)
def test_weights_to_begin_with(model, classes):
    save_file(MODELS[model]((1, 8, 8), classes).initialize(0).state_dict(), "w.safetensors")
    fail("train --dataset tinydigits --weights w.safetensors", 2)


@pytest.mark.parametrize(
    "toml",
    [
        pytest.param("epoch = 3", marks=pytest.mark.failure("a configuration has an unknown key")),
        pytest.param("epochs = 'many'", marks=pytest.mark.failure("a configuration has a text where a number belongs")),
        pytest.param("lr = 0x" + "f" * 9999, marks=pytest.mark.failure("a configuration has a number of 40,000 bits")),
        pytest.param("epochs = " + "[" * 5000, marks=pytest.mark.failure("a configuration has 5,000 lists in lists")),
        pytest.param("epochs: 3", marks=pytest.mark.failure("a configuration is no TOML")),
    ],
)
def test_configurations(toml):
    Path("c.toml").write_text(toml)
    fail("train --config c.toml", 2)


KERNEL = 'extern "C" __global__ void conv2d_forward(float* {}) {{ {} }}'
RUNS = "// launch: grid=(__import__('os').system('ls'))\n" + KERNEL.format("y", "")


@pytest.mark.parametrize(
    ("cuda", "code"),
    [
        pytest.param("// nothing", 2, marks=pytest.mark.failure("a file of kernels has none of the op")),
        pytest.param(KERNEL.format("z", ""), 2, marks=pytest.mark.failure("a kernel has a parameter nobody knows")),
        pytest.param(RUNS, 2, marks=pytest.mark.failure("a launch comment calls a program")),
        pytest.param(KERNEL.format("y", "y[0] = no;"), 1, marks=pytest.mark.failure("a kernel does not compile")),
    ],
)
def test_kernels(cuda, code):
    Path("mine.cu").write_text(cuda)
    found, _, err = gpucnn(
        "kernels check mine.cu --op conv2d"
    )  # not `fail`: the cache gets what the simulator compiles
    assert found == code and len(err.splitlines()) == 2 and "Traceback" not in err
    saw(found, err)


@pytest.mark.failure("`export` without the package onnx")
def test_export_without_onnx(monkeypatch):
    described()
    monkeypatch.setitem(sys.modules, "onnx", None)
    fail("export run out.onnx", 3)


@pytest.mark.failure("`--device cuda` without CuPy")
def test_no_cupy(monkeypatch):
    fault = DeviceError("CuPy is not installed", "make setup EXTRAS=cuda12  (or cuda13, as your driver)")
    monkeypatch.setattr("gpucnn.backend.probe_cuda", lambda index: fault)
    fail("train --dataset digits --device cuda", 3)
