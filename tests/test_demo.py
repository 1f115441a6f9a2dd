"""`gpucnn demo` without its page: how a drawing is centred, what is answered to it, and what is not answered at all."""

import asyncio
import http.client
import json
import re
import socket
import sys
from base64 import b64decode
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from command import fail, gpucnn, succeed
from failures import saw
from served import served

import gpucnn.functional as F
from gpucnn import Tensor, cli
from gpucnn.checkpoint import load_weights, save_weights
from gpucnn.cli.demo_answer import MOST, SIDE, Reader, as_maps, centred
from gpucnn.cli.inputs import REFERENCE
from gpucnn.models import MODELS

Image = pytest.importorskip("PIL.Image", reason="no Pillow: make setup")
pytest.importorskip("starlette", reason="no starlette: make setup")

pytestmark = pytest.mark.usefixtures("own_folder")

SMALL = "train --device cpu --kernels xp --dataset tinydigits --epochs 1 --limit-batches 9"
INK = SIDE * SIDE


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "run"
    succeed(f"{SMALL} --output-dir {folder}")
    return folder


def drawing():
    """Something that is not symmetrical, neither in the middle nor square."""
    ink = np.zeros((SIDE, SIDE), np.uint8)
    ink[30:50, 40:150] = ink[40:190, 130:155] = 255
    ink[185:200, 90:135] = 140
    return ink


# --- centring ---


def by_loops(ink, size, fill):
    """MNIST's way, pixel by pixel: the part of each pixel of a drawing that lies in each pixel of the picture."""
    dark = [(i, j) for i, j in np.ndindex(*ink.shape) if ink[i, j] >= 128]
    (top, left), (bottom, right) = ([f(p[axis] for p in dark) for axis in (0, 1)] for f in (min, max))
    sides = bottom + 1 - top, right + 1 - left
    scale = min(fill * size[0] / sides[0], fill * size[1] / sides[1])
    inside = [(i, j, ink[i, j] / 255) for i in range(top, bottom + 1) for j in range(left, right + 1)]
    moves = []
    for axis, first in ((0, top), (1, left)):
        mass = sum(p[2] for p in inside)
        centre = sum((p[axis] - first + 0.5) * scale * p[2] for p in inside) / mass
        moves.append(min(max(size[axis] // 2 + 0.5 - centre, 0), size[axis] - scale * sides[axis]))
    found = np.zeros(size)
    for i, j, value in inside:
        y, x = (i - top) * scale + moves[0], (j - left) * scale + moves[1]
        for a, b in np.ndindex(*size):
            height = min(y + scale, a + 1) - max(y, a)
            width = min(x + scale, b + 1) - max(x, b)
            if height > 0 and width > 0:
                found[a, b] += height * width * value
    return found


@pytest.mark.parametrize(
    "shape, size, fill", [((13, 17), (7, 5), 0.7), ((5, 4), (9, 11), 20 / 28), ((23, 9), (8, 8), 1)]
)
def test_a_picture_is_what_loops_make_of_the_drawing(shape, size, fill):
    ink = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.testing.assert_allclose(centred(ink, size, fill), by_loops(ink, size, fill), atol=1e-12)


def test_a_digit_is_as_large_and_where_those_of_mnist_are():
    """Its longer side has 20 of 28 pixels, and its centre of mass is on pixel 14, counted from 0, as in the files."""
    picture = centred(drawing(), (28, 28), 20 / 28)
    places = np.arange(28)
    down, right = picture.sum(1), picture.sum(0)
    assert down @ places / down.sum() == pytest.approx(14, abs=0.05)
    assert right @ places / right.sum() == pytest.approx(14, abs=0.05)
    assert 20 <= np.count_nonzero(down) <= 21  # 170 high and 115 wide
    assert 13 < np.count_nonzero(right) <= 15
    assert picture.max() == pytest.approx(1)


def test_where_it_was_drawn_and_how_large_does_not_matter():
    ink = drawing()
    moved = np.roll(ink, (70, 100), (0, 1))
    half = ink.reshape(SIDE // 2, 2, SIDE // 2, 2).max((1, 3))
    picture = centred(ink, (28, 28), 20 / 28)
    np.testing.assert_allclose(centred(moved, (28, 28), 20 / 28), picture, atol=1e-12)
    assert np.abs(centred(half, (28, 28), 20 / 28) - picture).max() < 0.15


def test_ink_stays_in_the_picture():
    """All the mass in one end would move the other one out."""
    ink = np.zeros((SIDE, SIDE), np.uint8)
    ink[0:80, 0:80] = ink[0:280, 38:42] = 255
    picture = centred(ink, (28, 28), 20 / 28)
    assert picture.sum() == pytest.approx((ink / 255).sum() * (20 / 280) ** 2)


@pytest.mark.parametrize("darkest", [0, 127])
def test_nothing_drawn_is_no_picture(darkest, run):
    ink = np.full((SIDE, SIDE), darkest, np.uint8)
    assert centred(ink, (28, 28), 20 / 28) is None
    assert Reader(run).answer(ink) == {"label": None, "probabilities": [], "maps": []}


# --- answering ---


def test_the_answer_is_that_of_predict_on_the_same_picture(run, tmp_path):
    answer = Reader(run).answer(drawing())
    grey = np.round(16 * centred(drawing(), (8, 8), 1))  # tinydigits fill their pictures
    Image.fromarray(np.round(grey * 255 / 16).astype(np.uint8)).save(tmp_path / "drawn.png")
    told = json.loads(succeed(f"predict {run} {tmp_path / 'drawn.png'} --device cpu --kernels xp --top 10 --json"))
    labels = told["predictions"][0]["labels"]
    assert answer["label"] == labels[0]["label"]
    for each in labels:
        assert answer["probabilities"][int(each["label"])] == pytest.approx(each["probability"], rel=1e-5)


def test_the_maps_are_those_of_the_layers(run):
    reader = Reader(run)
    maps = [
        np.frombuffer(b64decode(text), np.uint8).reshape(layer["shown"])
        for text, layer in zip(reader.answer(drawing())["maps"], reader.facts["layers"], strict=True)
    ]
    assert [layer["name"] for layer in reader.facts["layers"]] == [
        "input", "features.0", "features.1", "features.2", "classifier.0",
    ]  # fmt: skip
    grey = np.round(16 * centred(drawing(), (8, 8), 1))
    np.testing.assert_array_equal(maps[0][0], np.round(grey * 255 / grey.max()))
    first = dict(reader.model.named_modules())["features.0"]
    conv = first(Tensor((grey[None, None] / 16).astype(np.float32), device=REFERENCE)).numpy()[0]
    expected = 255 * (conv - conv.min()) / (conv.max() - conv.min())
    assert np.abs(maps[1] - expected).max() <= 0.51  # rounded
    relu = np.maximum(conv, 0)
    assert np.abs(maps[2] - 255 * relu / relu.max()).max() <= 0.51


@pytest.mark.parametrize(
    "shape, shown", [((3, 5, 4), (3, 5, 4)), ((40, 2, 3), (MOST, 2, 3)), ((6, 7), (1, 6, 7)), ((9,), (1, 1, 9))]
)
def test_outputs_of_any_shape_are_maps(shape, shown):
    y = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    maps = as_maps(y)
    assert (maps.shape, maps.dtype) == (shown, np.uint8)
    assert as_maps(np.full(shape, 3.0)).max() == 0
    assert (as_maps(y[:9]).min(), as_maps(y[:9]).max()) == (0, 255)


@pytest.mark.parametrize("name", ["lenet", "mlp", "googlenet-lite-aux", "densenet-lite", "vit-tiny"])
def test_models_of_every_kind(name, tmp_path):
    model = MODELS[name]((1, 32, 32), 10).to(REFERENCE).initialize(0).eval()
    meta = {
        "model": name,
        "input_shape": (1, 32, 32),
        "image_size": (28, 28),
        "white": 255,
        "mean": (33.0,),
        "std": (78.0,),
    }
    meta |= {"classes": list("0123456789"), "dataset": "mnist", "data_path": None, "epoch": 1}
    save_weights(tmp_path / "w.safetensors", model.state_dict(), meta)
    reader = Reader(tmp_path / "w.safetensors")
    answer = reader.answer(drawing())
    sizes = [np.prod(layer["shown"]) for layer in reader.facts["layers"]]
    assert [len(b64decode(text)) for text in answer["maps"]] == sizes
    grey = np.pad(np.round(255 * centred(drawing(), (28, 28), 20 / 28)), 2)
    x = Tensor(((grey[None, None] - 33) / 78).astype(np.float32), device=REFERENCE)
    np.testing.assert_allclose(answer["probabilities"], F.softmax(model(x)).numpy()[0], rtol=1e-4, atol=1e-7)


# --- what cannot be ---


@pytest.mark.failure("`demo` of a model of pictures in colour")
def test_colour(own_folder):
    succeed("train --kernels xp --dataset synthetic:64x3x8x8 --model linear --augment none --epochs 1 --output-dir run")
    fail("demo run", 2, "linear in run was trained on pictures in colour", "--model mnist-cnn")


@pytest.mark.failure("`demo`: another program has the port")
def test_a_port_that_is_taken(run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = gpucnn(f"demo {run} --port {port}")
    assert (code, out) == (2, "")
    assert err == f"error: --port {port}: Address already in use\nhint: take one that is free: --port 0\n"
    saw(code, err, (str(port), "8000"))


@pytest.mark.failure("`demo` without its packages")
def test_no_uvicorn(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "gpucnn.cli.demo_server", raising=False)
    monkeypatch.delattr(cli, "demo_server", raising=False)
    fail(f"demo {run}", 3, "uvicorn, which is not installed", r"pip install 'gpucnn\[demo\]'")


def test_no_run_and_no_weights_that_could_be_read(run, tmp_path):
    fail("demo nowhere", 4, "no weights at nowhere", "give the folder of a run")
    (tmp_path / "last.safetensors").write_bytes((run / "last.safetensors").read_bytes()[:-100])
    fail(f"demo {tmp_path}", 4, "last.safetensors")
    state, meta = load_weights(run / "last.safetensors")
    save_weights(tmp_path / "last.safetensors", state | {"classifier.0.bias": np.full(10, np.nan, np.float32)}, meta)
    fail(f"demo {tmp_path}", 4, "the logits are not finite", "damaged")


def test_no_other_host(run):
    fail(f"demo {run} --host 0.0.0.0", 2, "--host")
    fail(f"demo {run} --port 70000", 2, "--port")


def test_the_page_is_opened_where_that_is_asked_for(run, monkeypatch):
    opened, facts = [], []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr(
        import_module("gpucnn.cli.demo_server"), "serve", lambda reader, listener: facts.append(reader.facts)
    )
    told = json.loads(succeed(f"demo {run} --port 0 --open --json"))
    assert opened == [told.pop("url")] and re.fullmatch(r"http://127\.0\.0\.1:\d+", opened[0])
    assert told == json.loads(json.dumps(facts[0]))
    succeed(f"demo {run} --port 0")
    assert len(opened) == 1


# --- requests ---


@pytest.fixture(scope="module")
def address(run):
    with served(run) as url:
        yield urlsplit(url)


def ask(address, method, path, body=None, **headers):
    """(status, headers, content)"""
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
    try:
        with suppress(ConnectionError):  # who is told that it is too much may be told before it is all sent
            connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def send(address, *parts):
    """The status line that is answered to these bytes; empty where the connection is closed."""
    with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
        with suppress(ConnectionError):
            for part in parts:
                connection.sendall(part)
        return connection.makefile("rb").readline()


def test_what_is_served(address, run):
    status, headers, page = ask(address, "GET", "/")
    assert (status, headers.get_content_type()) == (200, "text/html")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert page == Path(cli.__file__).with_name("demo.html").read_bytes()
    reader = Reader(run)
    assert json.loads(ask(address, "GET", "/model", Host=f"localhost:{address.port}")[2]) == json.loads(
        json.dumps(reader.facts)
    )
    status, _, told = ask(address, "POST", "/answer", drawing().tobytes())
    assert (status, json.loads(told)) == (200, reader.answer(drawing()))
    assert json.loads(ask(address, "POST", "/answer", bytes(INK))[2])["label"] is None


@pytest.mark.parametrize(
    "status, method, path, body, headers",
    [
        (400, "POST", "/answer", b"", {}),
        (400, "POST", "/answer", bytes(INK - 1), {}),
        (413, "POST", "/answer", bytes(INK + 1), {}),
        (413, "POST", "/answer", bytes(10 * INK), {}),
        (405, "GET", "/answer", None, {}),
        (405, "POST", "/", bytes(INK), {}),
        (404, "GET", "/../pyproject.toml", None, {}),
        (400, "GET", "/", None, {"Host": "rebound.example"}),
        (400, "GET", "/model", None, {"Host": "127.0.0.1.rebound.example:80"}),
        (400, "POST", "/answer", bytes(INK), {"Host": "rebound.example"}),
    ],
)
def test_bad_requests(address, status, method, path, body, headers):
    found, _, content = ask(address, method, path, body, **headers)
    assert found == status
    assert len(content) < 200 and b"Traceback" not in content


def test_what_is_hardly_a_request(address):
    head = b"POST /answer HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    endless = [b"10000\r\n" + bytes(0x10000) + b"\r\n"] * 2  # and more would follow
    assert b" 413 " in send(address, head + b"Transfer-Encoding: chunked\r\n\r\n", *endless)
    assert b" 400 " in send(address, b"no words of HTTP\r\n\r\n")
    assert b" 400 " in send(address, b"GET / HTTP/1.1\r\n\r\n")  # without Host
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(head + b"Content-Length: 78400\r\n\r\n" + bytes(100))  # and gone
    assert ask(address, "GET", "/model")[0] == 200


def test_ctrl_c_does_not_wait_for_those_who_hang(run):
    with served(run) as url:
        hanging = socket.create_connection(("127.0.0.1", urlsplit(url).port))
        hanging.sendall(b"POST /answer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 78400\r\n\r\n" + bytes(100))
        assert ask(urlsplit(url), "GET", "/model")[0] == 200
    hanging.close()


def test_a_fault_is_told_in_one_line(run, monkeypatch):
    """Of weights that are damaged for some drawings alone, or of gpucnn."""
    reader, sent = Reader(run), []
    monkeypatch.setattr(reader, "answer", lambda ink: {}["nothing"])
    scope = {"type": "http", "method": "POST", "path": "/answer", "headers": [(b"host", b"127.0.0.1")]}

    async def receive():
        return {"type": "http.request", "body": bytes(INK)}

    async def send(message):
        sent.append(message)

    with pytest.raises(KeyError):  # for the log of the server, which is not kept
        asyncio.run(import_module("gpucnn.cli.demo_server").application(reader)(scope, receive, send))
    assert (sent[0]["status"], sent[1]["body"]) == (500, b"KeyError: 'nothing'")


def test_no_other_address_is_listened_to(address):
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", address.port), timeout=60)
