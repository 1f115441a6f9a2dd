"""Every command in README.md, CONTRIBUTING.md and docs/ is run, in the order of the file, in a folder of its own.

A fenced block without a language holds commands, one a line unless it ends in a backslash. `# fails: WORDS` behind
one says that it ends with an error which has these words. What asks for a GPU may miss it, having understood all of its
flags. A training stops after one batch, a profile after one step, batches are small, CIFAR-10 is random pictures, and
nsys a pretended one. `make` tells what it would do, and what starts many processes starts one. SHORTER names what takes
minutes, and what is run in its place.
"""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from command import gpucnn as call
from pretended_tools import fake_nsys  # noqa: F401, a fixture

import gpucnn.roofs
from gpucnn import data
from gpucnn.backend import probe_cuda
from gpucnn.data.cifar10 import CLASSES

Image = pytest.importorskip("PIL.Image", reason="no Pillow: make setup")
pytest.importorskip("uvicorn", reason="no uvicorn: make setup")

ROOT = Path(__file__).parents[1]
DOCUMENTS = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{file.name}" for file in (ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
GPU = re.compile(r"--device cuda|--precision (tf32|bf16)")
NCU = {
    "--nvtx": 0,
    "--nvtx-include": 1,
    "--profile-from-start": 1,
    "--clock-control": 1,
    "--set": 1,
}  # with their words
NCU |= {"--launch-count": 1, "--launch-skip": 1, "--export": 1, "--kernel-name": 1}
SHORTER = {  # for what takes minutes
    "kernels check conv2d --sanitize": "kernels check relu --sanitize",
    "reproduce symmetry-breaking": "reproduce symmetry-breaking --quick",
    "reproduce --all --quick": "reproduce cnn-vs-mlp-digits --quick",
    "reproduce --all --threads 1": "reproduce --all --list --threads 1",
}
SMALL = ("profile --", "bench kernels", "bench step", "plot roofline")  # are run on four pictures
EXTRAS = {*tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]}
RUN = "runs/20260101-120000-lenet"  # the one of the README's examples


class Command(NamedTuple):
    """fails: what its error says, where it is to end with one."""

    line: str
    fails: str


def commands(text):
    """Those of a document, in its order."""
    for language, block in BLOCK.findall(text):
        for line in block.replace("\\\n", "").splitlines() if not language else ():
            line, _, comment = line.partition("  #")
            fails = comment.partition("fails:")[2].strip()
            yield Command(line.strip().removeprefix(".venv/bin/"), fails)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where a reader is: the examples, a run, pictures of two kinds, and a small CIFAR-10 and MNIST."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gpucnn.roofs, "cache_folder", lambda: tmp_path)  # what is measured beside other tests is wrong
    for name in ("examples", "kernels"):
        Path(name).symlink_to(ROOT / name)
    rng = np.random.default_rng(0)
    for name in ("one", "other"):
        Path("my_pictures", name).mkdir(parents=True)
        for i in range(4):
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(f"my_pictures/{name}/{i}.png")
    shutil.copy("my_pictures/one/0.png", "cat.png")
    y = rng.integers(0, 10, 60)
    for name, c, side, classes, augment in (
        ("cifar10", 3, 32, CLASSES, ("crop", "flip")),
        ("mnist", 1, 28, tuple("0123456789"), ()),
    ):
        x = rng.integers(0, 256, (60, c, side, side), np.uint8)
        small = data.Dataset(name, x, y, x[:20], y[:20], classes, (127.5,) * c, (64.0,) * c, augment)
        entry = replace(data.DATASETS[name], load=lambda request, small=small: small)
        monkeypatch.setitem(data.DATASETS, name, entry)
    monkeypatch.setattr("uvicorn.Server.run", lambda server, sockets: None)  # else it waits for somebody to draw
    Path("report.nsys-rep").touch()
    assert train(f"train --kernels xp --output-dir {RUN}")[0] == 0
    shutil.copy(f"{RUN}/last.safetensors", "weights.safetensors")


def train(line):
    code, _, err = call(f"{line} --epochs 1 --limit-batches 1 --batch-size 8")
    return code, err


def run(command):
    """(exit code, what was said)"""
    program, _, arguments = command.line.partition(" ")
    if program == "gpucnn":
        arguments = SHORTER.get(arguments, arguments)
        if arguments.startswith("train") and "--help" not in arguments:
            return train(arguments)
        if arguments.startswith(SMALL) and "--from" not in arguments:
            arguments += " --batch-size 4" + " --steps 1" * arguments.startswith("profile")
        code, out, err = call(arguments)
        return code, out + err
    words = shlex.split(command.line)
    if program in ("mpirun", "srun"):  # one process, without those beside it
        return run(Command("gpucnn " + command.line.partition(" -m gpucnn ")[2], ""))
    if program == "pip":
        extras = re.findall(r"gpucnn\[(\w+)\]", command.line)
        return int(not {*extras} <= EXTRAS), f"the extras are {EXTRAS}"
    if program == "ncu":
        return run(Command(shlex.join(behind_options(words[1:])), ""))
    if program == "make":
        words = ["make", "-n", *words[1:]]
    elif program == "python":
        words = [sys.executable, *words[1:], "--check" if words[1:] == ["bench/report.py"] else "--help"]
    where = ROOT if program in ("make", "python") else None
    shell = program in ("cp", "sed")
    done = subprocess.run(
        command.line if shell else words, shell=shell, cwd=where, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def behind_options(words):
    """What ncu is to run, behind those of its options that the documents use."""
    while words[0].startswith("-"):
        words = words[1 + NCU[words[0]] :]
    return words


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands(document, folder, fake_nsys):  # noqa: F811
    no_gpu = probe_cuda() is not None
    for command in commands((ROOT / document).read_text()):
        if "--from" in command.line:
            fake_nsys()
        code, said = run(command)
        missing = no_gpu and GPU.search(command.line)
        expected = {1, 2} if command.fails else {3} if missing else {0}
        assert code in expected and command.fails in said, f"{command.line}: {code}\n{said}"


def test_the_reader_of_commands():
    text = """
```
.venv/bin/gpucnn train --lr 0.1    # a remark
make test
```
```python
import gpucnn
```
```
gpucnn eval no   # fails: no weights
```
"""
    assert list(commands(text)) == [
        ("gpucnn train --lr 0.1", ""),
        ("make test", ""),
        ("gpucnn eval no", "no weights"),
    ]


def test_links_lead_somewhere():
    """Those to files of the project, from where the document is."""
    for document in (*DOCUMENTS, "kernels/README.md"):
        text = (ROOT / document).read_text()
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
            if "://" not in link:
                assert ((ROOT / document).parent / link).exists(), f"{document}: {link}"
