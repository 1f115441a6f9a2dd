"""Finding and fetching, against a web server on this machine; nothing here reaches the network."""

import hashlib
import socket

import pytest
from data_files import web_server, write_mnist

from gpucnn import data
from gpucnn.data import files
from gpucnn.data.files import Download, Origin, locate
from gpucnn.errors import DataError

CONTENT = b"the official file"
HASH = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder, and no GPUCNN_DATA_DIR."""
    monkeypatch.delenv("GPUCNN_DATA_DIR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(files, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def origin(*mirrors, hash=HASH, file="toy.bin"):
    return Origin("toy", ("toy-folder", file), (Download(file, hash, mirrors),))


def leftovers(folder):
    return [file.name for file in folder.rglob("*") if file.is_file()]


def test_downloads_once_into_the_cache(cache):
    with web_server({"/a/toy.bin": CONTENT}) as (address, asked):
        found = locate(origin(f"{address}/a/"), None, True)
        assert found == cache / "toy" / "toy.bin" and found.read_bytes() == CONTENT
        assert locate(origin(f"{address}/a/"), None, True) == found
        assert files.fetch(origin(f"{address}/a/")) == [found]
        assert asked == ["/a/toy.bin"] and leftovers(cache) == ["toy.bin"]


def test_md5_is_a_hash_too(cache):
    with web_server({"/toy.bin": CONTENT}) as (address, _):
        toy = origin(f"{address}/", hash=f"md5:{hashlib.md5(CONTENT).hexdigest()}")
        found = locate(toy, None, True)
    assert list(files.verify(toy, found)) == [(found, True)]


@pytest.mark.parametrize("first", [b"something else", CONTENT[:-1], None], ids=["other", "truncated", "404"])
def test_the_next_mirror_is_tried(cache, first):
    pages = {"/b/toy.bin": CONTENT} | ({"/a/toy.bin": first} if first else {})
    with web_server(pages) as (address, asked):
        found = locate(origin(f"{address}/a/", f"{address}/b/"), None, True)
        assert found.read_bytes() == CONTENT and asked == ["/a/toy.bin", "/b/toy.bin"]


def test_a_wrong_hash_everywhere_leaves_nothing(cache):
    with web_server({"/toy.bin": b"damaged"}) as (address, _), pytest.raises(DataError, match="hash") as caught:
        locate(origin(f"{address}/"), None, True)
    assert HASH in str(caught.value) and hashlib.sha256(b"damaged").hexdigest() in str(caught.value)
    assert leftovers(cache) == []


def test_fetch_replaces_a_damaged_file(cache):
    file = cache / "toy" / "toy.bin"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"damaged")
    with web_server({"/toy.bin": CONTENT}) as (address, _):
        assert list(files.verify(origin(f"{address}/"), file)) == [(file, False)]
        assert files.fetch(origin(f"{address}/")) == [file]
    assert file.read_bytes() == CONTENT


@pytest.mark.parametrize("name", ["cifar10", "mnist", "fashion-mnist"])
def test_without_network_the_error_says_what_to_do(cache, no_network, name):
    with pytest.raises(DataError, match=rf"cannot download .* of {name}") as caught:
        data.load(name)
    assert "\n" not in str(caught.value) + caught.value.hint and caught.value.exit_code == 4
    assert str(cache / name) in caught.value.hint and "--dataset digits" in caught.value.hint
    assert leftovers(cache) == []


def test_digits_need_no_network(cache, no_network):
    assert len(data.load("digits").train_x) == 1437 and len(data.load("tinydigits").train_x) == 1000


def test_with_downloading_off_nothing_is_asked_for(cache):
    with web_server({"/toy.bin": CONTENT}) as (address, asked):
        with pytest.raises(DataError, match=r"no toy in .*cache, and downloading is off") as caught:
            locate(origin(f"{address}/"), None, False)
        assert asked == [] and "--dataset digits" in caught.value.hint


@pytest.mark.parametrize("name", ["cifar10", "mnist"])
def test_an_explicit_path_never_falls_through(cache, tmp_path, monkeypatch, name):
    write_mnist(tmp_path / "elsewhere" / "mnist")
    monkeypatch.setenv("GPUCNN_DATA_DIR", str(tmp_path / "elsewhere"))
    with pytest.raises(DataError, match="nowhere does not exist"):
        data.load(name, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty"):
        data.load(name, tmp_path / "empty")


def put(place):
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(CONTENT)
    return place


def test_order_of_the_places(cache, tmp_path, monkeypatch):
    toy = origin()
    in_cache = put(cache / "toy.bin")
    assert locate(toy, None, False) == in_cache
    monkeypatch.setenv("GPUCNN_DATA_DIR", str(tmp_path / "env"))
    assert locate(toy, None, False) == in_cache  # nothing there yet
    below = put(tmp_path / "env" / "toy" / "toy.bin")
    assert locate(toy, None, False) == below
    right_there = put(tmp_path / "env" / "toy.bin")
    assert locate(toy, None, False) == right_there
    explicit = put(tmp_path / "mine" / "toy.bin")
    assert locate(toy, tmp_path / "mine", False) == explicit
    assert locate(toy, explicit, False) == explicit
    (tmp_path / "mine" / "toy-folder").mkdir()
    assert locate(toy, tmp_path / "mine", False) == tmp_path / "mine" / "toy-folder"
    assert locate(toy, tmp_path / "mine" / "toy-folder", False) == tmp_path / "mine" / "toy-folder"


def test_a_home_sign_in_the_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    mine = put(tmp_path / "mine")
    assert locate(origin(), "~/mine", False) == mine


def test_the_shared_folder_is_not_taken_for_a_bare_one(cache, tmp_path, monkeypatch):
    write_mnist(tmp_path / "env")  # of which data set, nobody knows
    monkeypatch.setenv("GPUCNN_DATA_DIR", str(tmp_path / "env"))
    with pytest.raises(DataError, match="no fashion-mnist in"):
        data.load("fashion-mnist", download=False)
    assert len(data.load("fashion-mnist", tmp_path / "env").train_x) == 30


def test_half_of_a_data_set_in_the_cache_is_completed(cache):
    put(cache / "toy" / "one.bin")
    with web_server({"/two.bin": CONTENT}) as (address, asked):
        downloads = tuple(Download(file, HASH, (f"{address}/",)) for file in ("one.bin", "two.bin"))
        toy = Origin("toy", ("toy",), downloads)
        with pytest.raises(DataError, match="downloading is off"):
            locate(toy, None, False)
        assert locate(toy, None, True) == cache / "toy" and asked == ["/two.bin"]
        assert locate(toy, None, False) == cache / "toy"


def test_fetch_and_verify_by_name(cache, tmp_path):
    assert data.fetch("digits") == [] and list(data.verify("digits")) == []
    write_mnist(tmp_path / "mnist")
    verdicts = list(data.verify("mnist", tmp_path))
    assert len(verdicts) == 4 and not any(right for _, right in verdicts)
