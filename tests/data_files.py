"""Writers of the official file formats, an independent Philox, and a web server, for the tests of gpucnn.data."""

import gzip
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np


def philox_words(seed, use, epoch, sample, block=0):
    """Philox4x32-10 on Python integers: the four words of `block` of one sample."""
    c = [block, sample, epoch, use]
    k = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        p, q = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(q >> 32) ^ c[1] ^ k[0], q & 0xFFFFFFFF, (p >> 32) ^ c[3] ^ k[1], p & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def shuffled(n, seed, epoch=0):
    """The order that the Philox keys of the examples give."""

    def key(i):
        high, low, _, _ = philox_words(seed, 0, epoch, i)
        return high << 32 | low

    return sorted(range(n), key=key)


def write_idx(file: Path, array) -> Path:
    """An IDX file of uint8 values, compressed where the name ends in .gz."""
    content = struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(content, 1) if file.suffix == ".gz" else content)
    return file


def write_mnist(folder: Path, train=30, test=10, end=".gz", seed=0):
    """The four files of (Fashion-)MNIST with random content -> (train_x, train_y, test_x, test_y)."""
    rng = np.random.default_rng(seed)
    arrays = []
    for stem, n in (("train", train), ("t10k", test)):
        arrays += [rng.integers(0, 256, (n, 28, 28), np.uint8), rng.integers(0, 10, n).astype(np.uint8)]
        write_idx(folder / f"{stem}-images-idx3-ubyte{end}", arrays[-2])
        write_idx(folder / f"{stem}-labels-idx1-ubyte{end}", arrays[-1])
    return arrays


def python2_batch(x, y) -> bytes:
    """The pickle of {"labels": list, "data": array} with the opcodes of Python 2, which wrote byte strings."""

    def text(value):
        return b"U" + bytes([len(value)]) + value

    shape = b"M" + struct.pack("<H", x.shape[0]) + b"M" + struct.pack("<H", x.shape[1]) + b"\x86"
    dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|") + b"NNN"
    dtype += 2 * b"J\xff\xff\xff\xff" + b"K\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R(K\x01"
    array += shape + dtype + b"\x89T" + struct.pack("<i", x.size) + x.tobytes() + b"tb"
    labels = b"](" + b"".join(b"K" + bytes([label]) for label in y) + b"e"
    return b"\x80\x02}(" + text(b"labels") + labels + text(b"data") + array + b"u."


@contextmanager
def web_server(pages: dict[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """Serves `pages` (path -> content) on this machine: yields the address, and the paths asked for so far."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            content = pages.get(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
