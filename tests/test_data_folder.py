"""The user's own pictures: what is read, how it is split, and what is refused."""

import os
import struct
import zlib
from itertools import chain

import numpy as np
import pytest
from data_files import shuffled

from gpucnn import data
from gpucnn.data import folder, read_image
from gpucnn.errors import DataError

Image = pytest.importorskip("PIL.Image", reason="no Pillow: make setup")


def save(file, size=(40, 30), colour=(10, 200, 30), mode="RGB", **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(file, **options)
    return file


def fill(root, **counts):
    """root/<class>/<i>.png: picture i of class k has the colour (i, k, 0)."""
    for k, (name, count) in enumerate(sorted(counts.items())):
        for i in range(count):
            save(root / name / f"{i:03}.png", colour=(i, k, 0))
    return root


def test_splits_a_fifth_of_each_class_by_the_stated_rule(tmp_path):
    d = data.load(f"folder:{fill(tmp_path, cat=13, ant=5, bee=2)}")
    assert d.classes == ("ant", "bee", "cat") and d.image_shape == (3, 32, 32)
    assert np.bincount(d.test_y).tolist() == [1, 1, 3] and np.bincount(d.train_y).tolist() == [4, 1, 10]
    names = [(i, k) for k, n in enumerate((5, 2, 13)) for i in range(n)]
    order = shuffled(20, 0)
    chosen = [[j for j in order if names[j][1] == k][:n] for k, n in enumerate((1, 1, 3))]
    expected = [names[j] for j in sorted(chain.from_iterable(chosen))]
    assert [tuple(p[:2, 0, 0].tolist()) for p in d.test_x] == expected
    everything = [tuple(p[:2, 0, 0].tolist()) for p in (*d.train_x, *d.test_x)]
    assert sorted(everything, key=lambda p: (p[1], p[0])) == names
    assert "a fifth of each class" in d.notes[0] and "resized to 32x32" in d.notes[1]
    np.testing.assert_allclose(d.mean, d.train_x.mean((0, 2, 3)))
    assert d.std[2] == 1  # the blue channel has one value


def test_uses_train_and_test_where_both_exist(tmp_path):
    fill(tmp_path / "train", ant=3, bee=4)
    fill(tmp_path / "test", ant=1, bee=2)
    d = data.load("folder", tmp_path, image_size=(8, 12))
    assert d.train_x.shape == (7, 3, 8, 12) and d.test_x.shape == (3, 3, 8, 12)
    assert d.train_y.tolist() == [0] * 3 + [1] * 4 and "train/ and test/" in d.notes[0]


def test_loads_the_same_twice(tmp_path):
    first, second = (data.load(f"folder:{fill(tmp_path, a=7, b=9)}") for _ in range(2))
    assert first.train_x.tobytes() == second.train_x.tobytes() and first.test_x.tobytes() == second.test_x.tobytes()


def test_formats_modes_and_what_is_passed_over(tmp_path):
    colours = {
        "RGB": (50, 60, 70),
        "RGBA": (50, 60, 70, 255),
        "L": 60,
        "P": 3,
        "1": 1,
        "CMYK": (9, 9, 9, 9),
        "LA": (7, 255),
    }
    for i, (mode, colour) in enumerate(colours.items()):
        save(tmp_path / "a" / f"{i}.{'tif' if mode == 'CMYK' else 'PNG'}", mode=mode, colour=colour)
    save(tmp_path / "b" / "x.jpeg")
    save(tmp_path / "b" / "y.webp")
    (tmp_path / "b" / "notes.txt").write_text("not a picture")
    (tmp_path / "b" / ".hidden.png").write_text("not a picture")
    (tmp_path / ".git").mkdir()
    d = data.load(f"folder:{tmp_path}")
    assert len(d.train_x) + len(d.test_x) == len(colours) + 2 and d.classes == ("a", "b")


def test_read_image_shapes_and_values(tmp_path):
    file = save(tmp_path / "x.png", size=(7, 5), colour=(255, 0, 51))
    assert read_image(file, 3, (5, 7)).tolist() == [[[v] * 7] * 5 for v in (255, 0, 51)]
    grey = read_image(file, 1, (4, 6))
    assert grey.shape == (1, 4, 6) and grey.dtype == np.uint8 and grey.flags.c_contiguous
    assert set(np.unique(grey)) == {round(0.299 * 255 + 0.114 * 51)}
    assert read_image(save(tmp_path / "w.png", colour=(255,) * 3), 1, (8, 8), white=16).max() == 16


def test_read_image_keeps_rows_and_columns(tmp_path):
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    np.testing.assert_array_equal(read_image(tmp_path / "x.png", 3, (4, 5)), pixels.transpose(2, 0, 1))


def test_read_image_turns_a_photograph_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    image = Image.new("RGB", (20, 20))
    image.paste((255, 255, 255), (0, 0, 20, 10))  # white above: on the right once turned
    image.save(tmp_path / "x.png", exif=exif)
    turned = read_image(tmp_path / "x.png", 1, (20, 20))[0]
    assert (turned[:, 10:] == 255).all() and (turned[:, :10] == 0).all()


def test_files_that_are_no_picture(tmp_path):
    good = save(tmp_path / "good.png", size=(300, 300)).read_bytes()
    bad = {"text.png": b"hello", "empty.png": b"", "cut.png": good[:-40], "flip.png": good[:40] + b"\0" + good[41:]}
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name} is not a picture that can be read") as caught:
            read_image(tmp_path / name, 3, (32, 32))
        assert caught.value.hint and caught.value.exit_code == 4 and "\n" not in str(caught.value)
    with pytest.raises(DataError, match="does not exist"):
        read_image(tmp_path / "none.png", 3, (32, 32))
    with pytest.raises(DataError, match="is not a picture"):
        read_image(tmp_path, 3, (32, 32))


def test_more_than_8_bits_are_refused_rather_than_clipped(tmp_path):
    Image.fromarray(np.full((4, 4), 3000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match=r"deep\.png .* more than 8 bits"):
        read_image(tmp_path / "deep.png", 1, (4, 4))


@pytest.mark.parametrize(("width", "message"), [(8193, "8193x4096 pixels"), (90_000, "exceeds limit")])
def test_a_decompression_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch, width, message):
    """The file says so large a picture, and holds nothing of it; the second one Pillow itself refuses."""
    good = save(tmp_path / "bomb.png").read_bytes()
    header = b"IHDR" + struct.pack(">II", width, 4096) + good[24:29]
    (tmp_path / "bomb.png").write_bytes(good[:12] + header + struct.pack(">I", zlib.crc32(header)) + good[33:])
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("it was unpacked"))
    with pytest.raises(DataError, match=rf"bomb\.png is not a picture that can be read: .*{message}"):
        read_image(tmp_path / "bomb.png", 3, (32, 32))


def test_the_largest_picture_is_read(tmp_path):
    assert read_image(save(tmp_path / "x.png", size=(8192, 4096), mode="1", colour=1), 1, (2, 2)).tolist() == [
        [[255] * 2] * 2
    ]


def test_a_jpeg_of_a_thousand_scans_is_refused(tmp_path):
    content = save(tmp_path / "x.jpg", progressive=True).read_bytes()
    last = content.rindex(b"\xff\xda")
    (tmp_path / "x.jpg").write_bytes(content[:last] + content[last:-2] * 1000 + content[-2:])
    with pytest.raises(DataError, match="more than 100 scans"):
        read_image(tmp_path / "x.jpg", 3, (8, 8))


def test_formats_for_which_pillow_would_call_a_program_are_not_opened(tmp_path, monkeypatch):
    (tmp_path / "x.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"
    )
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("a program was called"))
    with pytest.raises(DataError, match="it is none of BMP, GIF, JPEG"):
        read_image(tmp_path / "x.png", 3, (8, 8))


def test_what_may_never_end_is_not_read(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zeros.png").symlink_to("/dev/zero")
    for name in ("pipe.png", "zeros.png"):
        with pytest.raises(DataError, match=f"{name} is not a picture but something else than a file"):
            read_image(tmp_path / name, 3, (8, 8))
    monkeypatch.setattr(folder, "_MOST_BYTES", 100)
    with pytest.raises(DataError, match=r"x\.png is not a picture of at most 100 bytes"):
        read_image(save(tmp_path / "x.png"), 3, (8, 8))
    with pytest.raises(DataError, match=r"cannot read .*name too long"):
        read_image("a" * 300, 3, (8, 8))


def test_an_unreadable_picture_in_a_class_is_named(tmp_path):
    fill(tmp_path, a=3, b=3)
    (tmp_path / "b" / "zz.jpg").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"b/zz\.jpg is not a picture"):
        data.load(f"folder:{tmp_path}")


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, "has 0 subfolders"),
        ({"a": 3}, "has 1 subfolders, and at least two classes"),
        ({"a": 3, "b": 0}, "b has no images"),
        ({"a": 3, "b": 1}, "b has one image, and 2 are needed"),
    ],
)
def test_too_few_classes_or_images(tmp_path, counts, message):
    for name, n in counts.items():
        (tmp_path / name).mkdir()
        fill(tmp_path, **{name: n})
    with pytest.raises(DataError, match=message) as caught:
        data.load(f"folder:{tmp_path}")
    assert caught.value.hint


def test_classes_of_train_and_test_differ(tmp_path):
    fill(tmp_path / "train", ant=2, bee=2)
    fill(tmp_path / "test", ant=2, cow=2)
    with pytest.raises(DataError, match="do not both have the class 'bee'"):
        data.load(f"folder:{tmp_path}")


def test_a_path_that_is_no_folder(tmp_path):
    with pytest.raises(DataError, match="none is not a folder"):
        data.load(f"folder:{tmp_path / 'none'}")
