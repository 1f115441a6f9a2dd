"""The page of `gpucnn demo` in Debian's chromium, drawn on by mouse and by touch."""

import os
import shutil
import subprocess
import sys
from base64 import b64decode
from pathlib import Path

import pytest
from command import succeed
from served import served

sync_playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: make setup").sync_playwright
pytest.importorskip("uvicorn", reason="no uvicorn: make setup")
CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("no chromium: apt install chromium", allow_module_level=True)

SEVEN = [(0.25, 0.18), (0.75, 0.18), (0.45, 0.85)]
ONE = [(0.42, 0.25), (0.52, 0.15), (0.5, 0.85)]
PAINTED = "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(value => value)"
GREYS = "canvas => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]"


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Of a model of small pictures that has learned hardly anything."""
    run = tmp_path_factory.mktemp("digits") / "run"
    succeed(f"train --kernels xp --dataset tinydigits --epochs 1 --limit-batches 9 --output-dir {run}")
    with served(run) as url:
        yield url


@pytest.fixture(scope="module")
def mnist(tmp_path_factory):
    """Of mnist-cnn, trained on 40,000 digits of MNIST, on one thread, which waits for no other on a busy machine."""
    place = os.environ.get("GPUCNN_DATA_DIR")
    if not place or not (Path(place) / "mnist").is_dir():
        pytest.skip("no data: set GPUCNN_DATA_DIR")
    run = tmp_path_factory.mktemp("mnist") / "run"
    flags = f"--model mnist-cnn --data-path {place} --epochs 1 --limit-batches 400 --threads 1 --output-dir {run}"
    subprocess.run([sys.executable, "-m", "gpucnn", "train", *flags.split()], check=True, capture_output=True)
    with served(run) as url:
        yield url


@pytest.fixture
def visit(browser):
    """visit(url, **how): the page at `url`, open. It has asked nobody else for anything, and had no error."""
    contexts, asked, said = [], [], []

    def open_page(url, **how):
        context = browser.new_context(**how)
        contexts.append(context)
        context.on("request", lambda request: asked.append(request.url))
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(url)
        page.wait_for_selector("#bars li")
        return page

    yield open_page
    for context in contexts:
        context.close()
    hosts = {url.split("/")[2] for url in asked if not url.startswith("data:")}
    assert len(asked) > 1 and all(host.startswith("127.0.0.1:") for host in hosts)
    assert said == []


def places(page, path, size=1.0, left=0.0, top=0.0):
    """Points of the window for those of a path, 0..1, in a square of the paper."""
    paper = page.locator("#paper").bounding_box()
    return [
        (paper["x"] + (left + size * x) * paper["width"], paper["y"] + (top + size * y) * paper["height"])
        for x, y in path
    ]


def draw(page, path, *where):
    """One line with the mouse; what is read of it."""
    first, *others = places(page, path, *where)
    page.mouse.move(*first)
    page.mouse.down()
    for place in others:
        page.mouse.move(*place, steps=5)
    page.mouse.up()
    return read(page)


def touch(page, path):
    """One line with a finger, and another finger that rests beside it."""
    send = page.context.new_cdp_session(page).send
    points = places(page, path)
    rest = {"x": points[0][0], "y": points[0][1] + 150, "id": 2}
    for i, (x, y) in enumerate(points):
        fingers = [{"x": x, "y": y, "id": 1}] + [rest] * (i > 0)
        send("Input.dispatchTouchEvent", {"type": "touchMove" if i else "touchStart", "touchPoints": fingers})
    send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    return read(page)


def read(page):
    page.wait_for_selector("#label[aria-busy=false]")
    return page.inner_text("#label")


def shares(page):
    """How long each bar is, of the whole; and what is written beside it."""
    return page.eval_on_selector_all(
        "#bars li", "items => items.map(li => [parseFloat(li.querySelector('i').style.width || 0), li.innerText])"
    )


@pytest.mark.parametrize("where", [(1, 0, 0), (0.3, 0.05, 0.65)], ids=["large", "small, in a corner"])
def test_a_drawn_7_is_read_as_7(mnist, visit, where):
    page = visit(mnist)
    assert draw(page, SEVEN, *where) == "7"
    assert len(shares(page)) == 10 and shares(page)[7][0] > 50
    page.keyboard.press("Escape")
    assert draw(page, ONE, *where) == "1"


def test_a_drawn_7_is_read_as_7_by_touch_and_in_the_dark(mnist, visit):
    size = {"width": 390, "height": 844}
    page = visit(mnist, has_touch=True, is_mobile=True, viewport=size, color_scheme="dark")
    assert touch(page, SEVEN) == "7"
    assert page.evaluate("[document.documentElement.scrollWidth, scrollX, scrollY]") == [390, 0, 0]


def test_before_anything_is_drawn_there_is_no_answer(digits, visit):
    page = visit(digits)
    assert page.inner_text("#label") == "" and "tinydigits-cnn on tinydigits, after epoch 1" in page.inner_text(
        "header"
    )
    assert [text for _, text in shares(page)] == list("0123456789")
    assert not any(page.locator("canvas").nth(i).evaluate(PAINTED) for i in range(page.locator("canvas").count()))


@pytest.mark.parametrize("how", ["Escape", "c", "the button"])
def test_clearing_takes_back_the_answer(digits, visit, how):
    page = visit(digits)
    assert draw(page, SEVEN) in set("0123456789")
    assert sum(share for share, _ in shares(page)) == pytest.approx(100, abs=0.1)
    page.click("#clear") if how == "the button" else page.keyboard.press(how)
    assert read(page) == ""
    assert shares(page) == [[0, digit] for digit in "0123456789"]
    assert not any(page.locator("canvas").nth(i).evaluate(PAINTED) for i in range(page.locator("canvas").count()))


def test_clearing_in_the_middle_of_a_line_ends_it(digits, visit):
    page = visit(digits)
    first, second, third = places(page, SEVEN)
    page.mouse.move(*first)
    page.mouse.down()
    page.mouse.move(*second)
    page.keyboard.press("Escape")
    page.mouse.move(*third)
    page.mouse.up()
    assert read(page) == ""


def test_the_maps_of_each_layer_are_shown_as_they_were_answered(digits, visit):
    page = visit(digits)
    with page.expect_response("**/model") as model:
        page.reload()
    page.wait_for_selector("#bars li")
    x, y = places(page, [(0.5, 0.4)])[0]
    with page.expect_response("**/answer") as answer:  # to one dot
        page.mouse.click(x, y)
    read(page)
    layers = page.locator("#layers .maps")
    heads = page.locator("#layers h2").all_inner_texts()
    assert [" ".join(head.split()) for head in heads] == [
        "input 1×8×8",  # noqa: RUF001
        "features.0 Conv2d 8×6×6",  # noqa: RUF001
        "features.1 ReLU 8×6×6",  # noqa: RUF001
        "features.2 MaxPool2d 8×3×3",  # noqa: RUF001
        "classifier.0 Linear 10",
    ]
    maps = answer.value.json()["maps"]
    for i, (facts, text) in enumerate(zip(model.value.json()["layers"], maps, strict=True)):
        canvases = layers.nth(i).locator("canvas")
        assert canvases.count() == facts["shown"][0]
        assert canvases.first.evaluate("canvas => getComputedStyle(canvas).imageRendering") == "pixelated"
        shown = [value for k in range(canvases.count()) for value in canvases.nth(k).evaluate(GREYS)]
        assert bytes(shown[::4]) == bytes(shown[2::4]) == b64decode(text)
        assert set(shown[3::4]) == {255}


def test_what_went_wrong_is_said_until_it_goes_well_again(digits, visit):
    page = visit(digits)
    page.route("**/answer", lambda route: route.fulfill(status=299, body="no JSON"))
    draw(page, ONE)
    assert "JSON" in page.inner_text("#fault")
    page.unroute("**/answer")
    draw(page, ONE)
    assert page.inner_text("#fault") == ""
