"""Hypothesis strategies of files: valid ones, built from their parts, and changed part by part and byte by byte."""

import gzip
import io
import json
import pickle
import pickletools
import struct
import tarfile
import zlib
from functools import cache
from pathlib import Path

import numpy as np
from data_files import python2_batch
from hypothesis import strategies as st
from PIL import Image

SIZES = (0, 1, 2, 255, 256, 0x7FFF, 0xFFFF, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)


def sometimes(draw, strategy, otherwise, one_in=8):
    """Mostly `otherwise`, so that most of a file stays valid; hypothesis shrinks towards it."""
    return draw(strategy) if draw(st.integers(1, one_in)) == one_in else otherwise


def near(value):
    """Numbers beside `value`, and those at which sizes overflow."""
    return st.one_of(st.sampled_from(SIZES), st.integers(max(0, value - 2), value + 2))


@st.composite
def damaged(draw, content, most=3):
    """The bytes `content` after up to `most` changes: set, cut off, removed, repeated, inserted, a number put over."""
    content = bytearray(content)
    for _ in range(draw(st.integers(0, most))):
        place = draw(st.integers(0, len(content)))
        length = draw(st.integers(1, 16))
        match draw(st.sampled_from(("set", "number", "insert", "remove", "repeat", "cut"))):
            case "set":
                content[place : place + 1] = bytes([draw(st.integers(0, 255))])
            case "number":
                order = draw(st.sampled_from("<>"))
                content[place : place + 4] = struct.pack(f"{order}I", draw(st.sampled_from(SIZES)))
            case "insert":
                content[place:place] = draw(st.binary(max_size=8))
            case "remove":
                del content[place : place + length]
            case "repeat":
                content[place:place] = content[place : place + length] * draw(st.sampled_from((1, 2, 100)))
            case "cut":
                del content[place:]
    return bytes(content)


@st.composite
def shuffled_parts(draw, parts, others, most=3):
    """The list `parts` after up to `most` changes: removed, doubled, exchanged, damaged, or one of `others` put in."""
    parts = list(parts)
    for _ in range(draw(st.integers(0, most))):
        place, other = (draw(st.integers(0, max(0, len(parts) - 1))) for _ in range(2))
        match draw(st.sampled_from(("put", "damage", "remove", "double", "exchange"))):
            case "put":
                parts.insert(place, draw(others))
            case "damage" if parts:
                parts[place] = draw(damaged(parts[place], 1))
            case "remove":
                del parts[place : place + 1]
            case "double":
                parts[place:place] = parts[place : place + 1] * draw(st.sampled_from((1, 200)))
            case "exchange" if parts:
                parts[place], parts[other] = parts[other], parts[place]
    return parts


@cache
def bomb(size):
    """`size` zeros, deflated a thousand to one."""
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(size >> 20)) + packer.flush()


@cache
def gzip_bomb(start, size):
    """`start` and `size` zeros as a .gz file."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=9, mtime=0) as file:
        file.write(start)
        for _ in range(size >> 20):
            file.write(bytes(1 << 20))
    return out.getvalue()


@st.composite
def packed(draw, content):
    """`content` as a .gz file, sometimes damaged."""
    return sometimes(draw, damaged(packed_ := gzip.compress(content, 1, mtime=0)), packed_, 3)


@st.composite
def idx(draw, item=(28, 28)):
    """(name, content): an IDX file of up to three items, plain or .gz."""
    if draw(st.integers(0, 300)) == 300:
        count = draw(st.sampled_from((1000, 380_000)))
        return "x.gz", gzip_bomb(struct.pack(">4I", 0x803, count, *item), 300 << 20)
    count = draw(st.integers(0, 3))
    header = [sometimes(draw, near(value), value) for value in (0x801 + len(item), count, *item)]
    content = struct.pack(f">{len(header)}I", *header) + bytes(count * int(np.prod(item)))
    content = sometimes(draw, damaged(content), content, 3)
    return draw(st.sampled_from((("x", content), ("x.gz", draw(packed(content))))))


BINARY = [f"cifar-10-batches-bin/{stem}.bin" for stem in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")]
PYTHON = [name.replace("bin/", "py/").removesuffix(".bin") for name in BINARY]
EXAMPLES, PIXELS = 2, 3072  # the readers are told that a batch is so small


def member(name, content, kind=tarfile.REGTYPE, size=None, form=tarfile.GNU_FORMAT, link=""):
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(content) if size is None else size, kind, link
    return info.tobuf(form, errors="surrogateescape") + content + bytes(-len(content) % 512)


@st.composite
def odd_members(draw):
    name = draw(
        st.sampled_from((*BINARY, *PYTHON, "../../x", "/x", f"./{BINARY[0]}", "x" * 300, "cifar-10-batches-bin"))
    )
    kinds = (tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)
    special = (
        tarfile.GNUTYPE_SPARSE,
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
    )
    kind = draw(st.sampled_from((*kinds, *special)))
    headers = (b"20 path=somewhere/x\n", b"13 size=-512\n", b"99999 size=1\n", b"28 GNU.sparse.map=0,-1,5,99\n")
    batch = bytes(EXAMPLES * (1 + PIXELS))
    content = draw(st.sampled_from((b"", batch, batch * 9, b"21 GNU.sparse.size=9\n", *headers)))
    size = sometimes(draw, st.sampled_from((*SIZES, 1 << 40, 1 << 70)), None)
    form = draw(st.sampled_from((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)))
    return member(name, content, kind, size, form, draw(st.sampled_from(("", "/etc/passwd", BINARY[0]))))


@st.composite
def batches(draw):
    """A .tar.gz of CIFAR-10 in either layout, each batch of two examples; or a folder, {file: content}."""
    if draw(st.integers(0, 9)) == 9:
        content = bytes(EXAMPLES * (1 + PIXELS))
        lengths = st.sampled_from((*[content] * 9, content[:-1], content * 9))
        return {Path(name).name: draw(lengths) for name in BINARY[draw(st.sampled_from((0, 0, 1, 6))) :]}
    if draw(st.integers(0, 300)) == 300:
        return gzip_bomb(member(BINARY[0], b"", draw(st.sampled_from((b"0", b"L", b"x", b"S"))), 300 << 20), 300 << 20)
    parts = draw(shuffled_parts(valid_members(draw(st.booleans())), odd_members(), 2))
    content = b"".join(parts) + bytes(1024)
    return draw(packed(sometimes(draw, damaged(content), content, 4)))


@cache
def valid_members(binary):
    content = bytes(EXAMPLES * (1 + PIXELS)) if binary else pickle.dumps(batch_of_zeros(), 2)
    return [member(name, content) for name in (BINARY if binary else PYTHON)]


def batch_of_zeros():
    return {"labels": [3, 4], "data": np.zeros((EXAMPLES, PIXELS), np.uint8), "filenames": ["a.png", "b.png"]}


@cache
def instructions(version, examples=EXAMPLES, dtype="u1"):
    """A valid pickle of so many examples, one instruction an element."""
    batch = batch_of_zeros() | {"data": np.zeros((examples, PIXELS), dtype)}
    bytes_ = batch["data"].view("u1")[:, :PIXELS]
    content = python2_batch(bytes_, [3, 4]) if version == 0 else pickle.dumps(batch, version)
    starts = [place for _, _, place in pickletools.genops(content)]
    return [content[start:end] for start, end in zip(starts, [*starts[1:], len(content)], strict=True)]


ODD_INSTRUCTIONS = (
    b"cos\nsystem\n", b"c__builtin__\neval\n", b"cnumpy\ndtype\n", b"cnumpy\nndarray\n", b"c_codecs\nencode\n",
    b"\x93", b"ios\nsystem\n", b"o", b"\x81", b"\x92", b"P1\n", b"Q", b"\x82\x01", b"\x97", b"\x98", b"\x8f", b"\x90",
    b"\x91", b"R", b"b", b"s", b"u", b"e", b"a", b"l", b"d", b"t", b")", b"\x85", b"\x86", b"\x87", b"(", b"0", b"1",
    b"2", b".", b"q\x01", b"r\xff\xff\xff\x7f", b"r\x00\x00\x01\x00", b"p99999999999\n", b"p-1\n", b"\x94", b"h\x01",
    b"j\xff\xff\xff\x7f", b"B\xff\xff\xff\x7f", b"T\xff\xff\xff\xff", b"\x8e" + b"\xff" * 8, b"\x8b\xff\xff\xff\x7f",
    b"\x95" + b"\x7f" * 8, b"I01\n", b"I-99\n", b"L" + b"9" * 5000 + b"L\n", b"F1e999\n", b"G\x7f\xf8" + bytes(6),
    b"N", b"\x88", b"\x8a\x09" + b"\xff" * 9, b"S'labels'\n", b"Vdata\n", b"V\\ud800\n", b"U\x04data", b"]", b"}",
    b"\x8a\xff" + b"\x7f" * 255, b"\x80\x05", b"\x85" * 2000,
)  # fmt: skip


@st.composite
def pickles(draw):
    """The pickle of a batch, as Python 2 and 3 write it."""
    kind = sometimes(draw, st.sampled_from(((3, "u1"), (2, "f8"), (2, "i1"))), (EXAMPLES, "u1"))
    valid = instructions(draw(st.sampled_from((0, 2, 3, 4, 5))), *kind)
    parts = draw(shuffled_parts(valid, st.sampled_from(ODD_INSTRUCTIONS)))
    return sometimes(draw, damaged(b"".join(parts), 1), b"".join(parts), 4)


@cache
def pictures():
    """Small pictures in each format that is read, some of them in several modes."""
    found = []
    rng = np.random.default_rng(0)
    grey = Image.fromarray(rng.integers(0, 256, (9, 7), np.uint8))
    kinds = [("PNG", "RGB"), ("PNG", "L"), ("PNG", "P"), ("PNG", "RGBA"), ("JPEG", "RGB"), ("JPEG", "L"), ("GIF", "P"),
             ("BMP", "RGB"), ("PPM", "RGB"), ("TIFF", "RGB"), ("TIFF", "CMYK"), ("TIFF", "F"),
             ("WEBP", "RGB")]  # fmt: skip
    for kind, mode in kinds:
        for options in [{}, {"progressive": True}] if kind == "JPEG" else [{}]:
            out = io.BytesIO()
            exif = Image.Exif()
            exif[0x0112] = 6
            grey.convert(mode).save(out, kind, exif=exif, **options) if kind in ("PNG", "JPEG") else grey.convert(
                mode
            ).save(out, kind)
            found.append((kind, out.getvalue()))
    return found


def chunks(png):
    """A PNG's chunks as type and data, without length and checksum."""
    found, place = [], 8
    while place < len(png):
        length = int.from_bytes(png[place : place + 4])
        found.append(png[place + 4 : place + 8 + length])
        place += 12 + length
    return found


def png(parts):
    checked = (struct.pack(">I", max(0, len(p) - 4)) + p + struct.pack(">I", zlib.crc32(p)) for p in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(checked)


@cache
def odd_chunks():
    sizes = [(w, h) for w in (0, 1, 8193, 1 << 16, (1 << 31) - 1) for h in (1, 4097, 1 << 16, 1 << 31)]
    forms = [(8, 2, 0), (8, 2, 1), (16, 0, 0), (1, 0, 0), (8, 3, 0), (3, 7, 9)]
    headers = [
        b"IHDR" + struct.pack(">IIBBBBB", w, h, depth, colour, 0, 0, lace)
        for w, h in sizes
        for depth, colour, lace in forms
    ]
    texts = [
        b"zTXtx\0\0" + bomb(64 << 20),
        b"iTXtx\0\1\0\0\0" + bomb(8 << 20),
        b"iCCPx\0\0" + bomb(8 << 20),
        b"tEXt" + b"x" * 99,
    ]
    return [
        *headers,
        *texts,
        b"IDAT" + bomb(8 << 20),
        b"acTL" + struct.pack(">II", 1 << 31, 0),
        b"eXIf",
        b"PLTE\1\2",
        b"tRNS",
        b"IEND",
    ]


def segments(jpeg):
    """A JPEG's segments: each from its marker to the next."""
    starts = [i for i in range(len(jpeg) - 1) if jpeg[i] == 0xFF and jpeg[i + 1] not in (0, 0xFF)]
    return [jpeg[start:end] for start, end in zip(starts, [*starts[1:], len(jpeg)], strict=True)]


ODD_SEGMENTS = (
    b"\xff\xd8", b"\xff\xd9", b"\xff\xda\0\x02", b"\xff\xda\0\x08\1\1\0\0\x3f\0", b"\xff\xdd\0\4\0\1",
    b"\xff\xe1\0\x08Exif\0\0", b"\xff\xc0\0\x0b\x08\xff\xff\xff\xff\1\1\x11\0",
    b"\xff\xc2\0\x0b\x08\x10\0\x10\0\1\1\x11\0", b"\xff\xfe\0\0", b"\xff\xdb\0\x43",
)  # fmt: skip


@cache
def bombs():
    """A small file of 34 million pixels, and a JPEG of 200 scans."""
    contents = dict(pictures())
    header = b"IHDR" + struct.pack(">IIBBBBB", 8193, 4097, 8, 2, 0, 0, 0)
    parts = [part * 200 if part.startswith(b"\xff\xda") else part for part in segments(contents["JPEG"])]
    return png([header, *chunks(contents["PNG"])[1:]]), b"".join(parts)


@st.composite
def images(draw):
    """A picture in any format that Pillow is let read; now and then no file at all, a folder, or one too large."""
    if draw(st.integers(0, 11)) == 11:
        return draw(st.sampled_from(("nothing", "folder", "too large", *bombs())))
    kind, content = draw(st.sampled_from(pictures()))
    if kind == "PNG":
        content = png(draw(shuffled_parts(chunks(content), st.sampled_from(odd_chunks()))))
    elif kind == "JPEG":
        content = b"".join(draw(shuffled_parts(segments(content), st.sampled_from(ODD_SEGMENTS))))
    return sometimes(draw, damaged(content), content, 4 if kind in ("PNG", "JPEG") else 1)


NAMES = ("a", "b", "c", "train", "test", ".git", "x.png", "a\n\x1b[31m", "\udcff")
FILES = ("1.png", "2.PNG", "3.jpeg", "4.gif", ".5.png", "6.txt", "x\ny.png", "\udcfe.png")
KINDS = ("picture", "picture", "picture", "damaged", "empty", "folder", "zeros", "dangling", "pipe")


@st.composite
def trees(draw):
    """{class: {file: kind}}, or {"train": {class: ...}, "test": ...}: a folder of pictures; or None, where none is."""

    def classes():
        return {name: {"1.png": "picture", "2.PNG": "picture"} for name in ("a", "b")}

    if draw(st.integers(0, 50)) == 50:
        return draw(st.sampled_from((None, {"train": classes(), "test": classes() | {"c": classes()["a"]}})))
    tree = {"train": classes(), "test": classes()} if draw(st.booleans()) else classes()
    for _ in range(draw(st.integers(0, 3))):
        place = tree
        while place and draw(st.booleans()):
            below = place[draw(st.sampled_from(sorted(place)))]
            if not isinstance(below, dict):
                break
            place = below
        deep = not any(isinstance(below, dict) for below in place.values())
        if draw(st.booleans()):
            place[draw(st.sampled_from(FILES if deep else NAMES))] = draw(st.sampled_from(KINDS)) if deep else {}
        elif place:
            del place[draw(st.sampled_from(sorted(place)))]
    return tree


DTYPES = ("F32", "F16", "BF16", "F64", "I64", "I8", "U8", "BOOL", "F8_E4M3", "F4", "C64", "X", 3, None)


@st.composite
def safetensors(draw, state, metadata):
    """A safetensors file of `state` with `metadata`, a strategy of dictionaries."""
    header, body = {}, b""
    for name, array in state.items():
        name = sometimes(draw, st.sampled_from(("", "x", "__metadata__", "\ud800", "a" * 999)), name, 20)
        shape = [sometimes(draw, near(size), size, 30) for size in array.shape]
        ends = [
            sometimes(draw, near(end) | st.integers(-9, 9), end, 30) for end in (len(body), len(body) + array.nbytes)
        ]
        entry = {"dtype": sometimes(draw, st.sampled_from(DTYPES), "F32", 30), "shape": shape, "data_offsets": ends}
        header[name] = sometimes(
            draw,
            st.sampled_from((None, {}, [], entry | {"x": 1}, entry | {"shape": [-1]}, entry | {"shape": "3"})),
            entry,
            30,
        )
        body += array.tobytes()
    header["__metadata__"] = draw(metadata)
    text = json.dumps(header).encode()
    text = sometimes(draw, damaged(text), text, 5)
    text = sometimes(
        draw, st.sampled_from((b"[" * 100_000, b"{}", b"", b'{"a":' * 50_000, b"\xff", b" " * 999)), text, 30
    )
    length = sometimes(draw, near(len(text)) | st.sampled_from((1 << 40, (1 << 64) - 1)), len(text), 20)
    body = sometimes(draw, damaged(body), body, 10)
    return struct.pack("<Q", length) + text + body


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(SIZES) | st.floats() | st.text(max_size=9),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(max_size=9), inside, max_size=4),
    max_leaves=6,
)


@st.composite
def descriptions(draw, right):
    """A run's description with some of its values exchanged, or their elements, one taken away, or one added."""
    meta = dict(right)
    for _ in range(draw(st.integers(0, 2))):
        name = draw(st.sampled_from(sorted(meta)))
        value = meta[name]
        if isinstance(value, list) and value and draw(st.booleans()):
            place = draw(st.integers(0, len(value) - 1))
            value = [
                *value[:place],
                draw(JSON | st.sampled_from((0, -1, 1, 2, 8, 1e999, 10**400, 1 << 40))),
                *value[place + 1 :],
            ]
        else:
            value = draw(
                JSON
                | st.sampled_from(
                    ("linear", "mlp", "lenet", "alexnet-lite", 10**400, [1, 4096, 4096], ["a"] * 5000, [])
                )
            )
        meta[name] = value
    match draw(st.integers(0, 20)):
        case 20:
            del meta[draw(st.sampled_from(sorted(meta)))]
        case 19:
            meta["another"] = draw(JSON)
    return meta


@st.composite
def rows(draw, right):
    """The text of a JSON Lines file of `right`, changed line by line and value by value."""
    lines = [json.dumps(draw(descriptions(row)) if draw(st.booleans()) else row).encode() for row in right]
    others = st.sampled_from((b"", b"null", b"[]", b"{}", b"[" * 100_000, b"\xff")) | JSON.map(json.dumps).map(
        str.encode
    )
    return b"\n".join(sometimes(draw, shuffled_parts(lines, others), lines, 4))


TOML_VALUES = (
    "1", "0", "-1", "2.5", "nan", "inf", "1e400", "9" * 5000, "true", '"cosine"', '"""', "'x", "[1, 2]", "{a = 1}",
    "{a.b.c = [[[[]]]]}", "1979-05-27", "99:99:99", "[" * 5000, '"\\ud800"', '"\\u0000"', "0x" + "f" * 9999,
    '"' + "x" * 9999 + '"', "1_000", "",
)  # fmt: skip


FLAGS = (
    "epochs = 5", "batch-size = 1_000", "lr = 0.1", "momentum = 0.9", "nesterov = true", "seed = 0x10",
    'augment = "crop"', 'dataset = "digits"', "download = false", "label-smoothing = 0", 'data-path = "somewhere"',
)  # fmt: skip
ODD_KEYS = (
    "epoch", "[table]", "a.b.c", '"\\n"', "a" * 9999, ".".join("a" * 5000), "[[x]]", "config", "", "#", "epochs", "lr",
    "optimizer", "nesterov", "model", "limit-batches",
)  # fmt: skip


@st.composite
def tables(draw):
    """The text of a TOML file of flags, changed line by line."""
    odd_lines = st.tuples(st.sampled_from(ODD_KEYS), st.sampled_from(TOML_VALUES)).map(" = ".join)
    lines = [line.encode() for line in draw(st.sets(st.sampled_from(FLAGS), max_size=6))]
    text = b"\n".join(draw(shuffled_parts(sorted(lines), odd_lines.map(str.encode), 2)))
    return sometimes(draw, damaged(text), text, 4)


ODD_COMMENTS = (
    "// launch:\n", "// launch: hello\n", "// launch: grid=1 1\n", "// launch: grid=n[0]\n", "// launch grid: (1)\n",
    "// Block = 8\n", "void f() {\n}\n",
)  # fmt: skip
ODD_PARAMETERS = ("int hello, ", "float x, ", "int* n, ", "double* x, ", "float4 x, ", "const, ", "unsigned char* y, ")
ODD_TOKENS = (
    *ODD_COMMENTS,
    "grid=", "block=(0)", "shared=", "(", ")", "((((" * 999, "ceil_div(n, 0)", "n / 0", "n // 0",
    "9" * 5000, "min(n)", "max(*n)", "min(n, key=n)", "-n", "n ** n", "x[0]", "'a'", "True", "1 is 2", "lambda: n",
    "\n", "*/", "/*", "//", "}", "{", ";", "\0", "ü", "\\", 'extern "C" __global__ void', "conv2d_forward(",
    "conv2d_backward_input(int n)", "__launch_bounds__((1))", "double* x", "int* n", "float4 x", "const",
    "blocksize = 3", "launch " * 99, "grid: " * 99, "unsigned char* code",
)  # fmt: skip


@st.composite
def sources(draw, tokens):
    """The text of a .cu file, changed token by token, above all where a kernel says how it is launched."""
    place = tokens.index("extern")
    if draw(st.integers(0, 3)) == 3:
        odd = draw(st.sampled_from((*ODD_COMMENTS, *ODD_PARAMETERS)))
        place = place if odd in ODD_COMMENTS else tokens.index("(", place) + 1
        tokens = [*tokens[:place], odd, *tokens[place:]]
    parts = draw(shuffled_parts([token.encode() for token in tokens], st.sampled_from(ODD_TOKENS).map(str.encode), 4))
    return sometimes(draw, damaged(b"".join(parts), 1), b"".join(parts), 8)


@st.composite
def reports(draw, right):
    """{report: text} of nsys as CSV, some changed line by line, a cell of a line exchanged, or all of one left out."""
    texts = {}
    for name, text in right.items():
        lines = text.splitlines(keepends=True)
        if draw(st.booleans()):
            lines = draw(shuffled_parts(lines, st.sampled_from(ODD_LINES), 2))
        if lines and draw(st.booleans()):
            place = draw(st.integers(0, len(lines) - 1))
            cells = lines[place].split(b",")
            cells[draw(st.integers(0, len(cells) - 1))] = draw(st.sampled_from(ODD_CELLS))
            lines[place] = b",".join(cells)
        texts[name] = sometimes(draw, damaged(b"".join(lines), 1), b"".join(lines), 4)
    if draw(st.integers(0, 30)) == 30:
        del texts[draw(st.sampled_from(sorted(texts)))]
    return texts


ODD_CELLS = (
    b"", b"nan", b"inf", b"-5", b"1e400", b"9" * 5000, b"1,000", b'"', b'"1,0', b"Start (ns)", b"Start", b"Name (ns)",
    b"TID (us)", b"CorrID (s)", b"gpucnn:step", b"gpucnn:" + b"x" * 9999, b"\xff", b"\0", b"77", b"$x$", b"void f<<<(",
)  # fmt: skip
ODD_LINES = (
    b"\n", b"Start (ns),Name\n", b'"\n', b"x" * 200_000 + b"\n", b'"' + b"y," * 100_000 + b"\n", b"," * 9999 + b"\n",
    b"Start (fortnights),End (ns),Duration (ns),Name,PID,TID,CorrId,Strm\n",
)  # fmt: skip


@st.composite
def changed(draw, right):
    """`right`, which is as JSON takes it, with the values in one or two places exchanged, taken away, or joined."""
    found = json.loads(json.dumps(right))
    for _ in range(draw(st.integers(0, 2))):
        place = found
        while (keys := list(place) if isinstance(place, dict) else range(len(place))) and (
            isinstance(below := place[key := draw(st.sampled_from(keys))], dict | list) and draw(st.integers(0, 3))
        ):
            place = below
        value = draw(JSON | st.sampled_from((-1, 0, 1e999, 10**400, 1e-320, "$\\x$", [], {}, None)))
        match draw(st.sampled_from(("exchange", "exchange", "remove", "add"))):
            case "exchange" if keys:
                place[key] = value
            case "remove" if keys:
                del place[key]
            case "add" if isinstance(place, dict):
                place["another"] = value
    return found


@st.composite
def answers(draw, right):
    """The output of a command with --json, which says `right`."""
    text = json.dumps(draw(changed(right))).encode()
    text = sometimes(draw, st.sampled_from((b"", b"null", b"[" * 100_000, b"\xff", b"9" * 5000)), text, 20)
    return b"a line\n" * draw(st.integers(0, 1)) + sometimes(draw, damaged(text, 1), text, 8)
