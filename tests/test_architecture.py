"""The house rules that a machine can hold: who imports whom, what stays out, how files are named and sized."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(file for folder in ("gpucnn", "kernels") for file in (ROOT / folder).rglob("*.py"))
each_file = pytest.mark.parametrize("file", FILES, ids=[str(file.relative_to(ROOT)) for file in FILES])

# layer: the layers it may import from, besides itself. A layer is a file or a folder of gpucnn, or kernels.
ANYTHING = None
ALLOWED = {
    "kernels": "",
    "errors": "",
    "initializers": "",
    "profiling": "",
    "backend": "errors kernels profiling",
    "cpu": "backend errors kernels",
    "autograd": "backend profiling",
    "tensor": "autograd backend",
    "gradcheck": "tensor backend",
    "functional": "tensor autograd backend",
    "module": "tensor backend initializers profiling",
    "layers": "functional module initializers tensor",
    "sequential": "functional layers module backend profiling tensor",
    "flat": "module backend",
    "optim": "flat module backend errors profiling",
    "models": "layers module sequential functional tensor errors",
    "data": "backend errors",
    "checkpoint": "errors",
    "costs": "functional backend profiling",
    "roofs": "backend costs kernels",
    "measure": "backend costs errors kernels profiling roofs",
    "summary": "autograd backend costs errors module profiling tensor",
    "export": "functional autograd backend errors module tensor",
    "lint": "functional autograd errors tensor",
    "graph": "functional autograd backend lint module profiling tensor",
    "parallel": "backend errors",
    "steps": "functional backend data graph layers module optim profiling",
    "rank_steps": "backend data errors module optim parallel steps",
    "finite": "autograd backend errors functional module steps tensor",
    "training": "functional autograd backend data errors finite rank_steps steps module optim parallel tensor",
    "memory": "backend data errors module training",
    "claims": "backend data errors functional layers models module sequential summary tensor training",
    "__init__": "functional optim autograd backend errors layers module sequential tensor",
    "__main__": "cli",
    "cli": ANYTHING,
}


def layer_of(parts):
    """("gpucnn", "functional", "conv") -> "functional"; ("gpucnn_kernels", "arrays") -> "kernels"."""
    if parts[0] in ("kernels", "gpucnn_kernels"):
        return "kernels"
    return parts[1] if len(parts) > 1 else "__init__"


def module_parts(file):
    return file.relative_to(ROOT).with_suffix("").parts


def imports(file):
    """The modules that a file imports, anywhere in it, as tuples of their dotted names, relative ones resolved."""
    package = module_parts(file)[:-1]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = (*package[: len(package) + 1 - node.level],) if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            # "from . import functional" names modules; "from .tensor import Tensor" a thing in one
            yield from [base] if node.module else [(*base, alias.name) for alias in node.names]


def strings_and_names(file):
    """Every name and string in the code; comments and docstrings are left out."""
    tree = ast.parse(file.read_text())
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node, clean=False)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value
        elif isinstance(node, (ast.Name, ast.Attribute)):
            yield node.id if isinstance(node, ast.Name) else node.attr
        elif isinstance(node, ast.alias):
            yield node.name


@each_file
def test_imports_run_one_way(file):
    layer = layer_of(module_parts(file))
    assert layer in ALLOWED, f"{layer} is new: give it a row in ALLOWED"
    if ALLOWED[layer] is ANYTHING:
        return
    ours = {layer_of(parts) for parts in imports(file) if parts[0] in ("gpucnn", "gpucnn_kernels", "kernels")}
    assert ours - {layer, *ALLOWED[layer].split()} == set()


def test_the_table_has_no_cycle():
    done = set()
    while waiting := {layer for layer in ALLOWED if layer not in done}:
        ready = {layer for layer in waiting if ALLOWED[layer] is not ANYTHING and set(ALLOWED[layer].split()) <= done}
        if not ready:
            assert waiting == {"__main__", "cli"}
            return
        done |= ready


def test_the_reader_of_imports(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    file = tmp_path / "gpucnn" / "data" / "one.py"
    file.parent.mkdir(parents=True)
    file.write_text("import a.b\nfrom . import two\nfrom ..tensor import Tensor\ndef f():\n    from .. import optim\n")
    found = {("a", "b"), ("gpucnn", "data", "two"), ("gpucnn", "tensor"), ("gpucnn", "optim")}
    assert set(imports(file)) == found
    assert [layer_of(parts) for parts in sorted(found)[1:]] == ["data", "optim", "tensor"]


MEASURE = ("measure", "accesses"), ("measure", "timers")
COMMANDS = "kernels", "doctor", "bench", "bench_kernels", "bench_step"


@each_file
def test_only_the_backend_knows_cupy_and_the_kernels(file):
    """Besides it, only what runs no op looks at the kernels: it compiles, measures, counts, checks or lists them."""
    parts = module_parts(file)
    if parts[0] == "kernels" or parts == ("gpucnn", "backend"):
        return
    if parts[1:] not in (("cpu",), ("roofs",), *MEASURE, *(("cli", name) for name in COMMANDS)):
        assert "gpucnn_kernels" not in {imported[0] for imported in imports(file)}
        assert not [text for text in strings_and_names(file) if text.split(".")[0] in ("cupy", "cupyx")]


@each_file
def test_no_compiler_and_no_gpu_at_import(file):
    tree = ast.parse(file.read_text())
    top = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {alias.name.split(".")[0] for node in top if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module.split(".")[0] for node in top if isinstance(node, ast.ImportFrom) and node.module}
    forbidden = {"cupy", "cupyx", "mpi4py", "torch"}
    forbidden |= {"numba", "scipy"} if module_parts(file)[0] == "gpucnn" else set()
    assert names & forbidden == set()


@each_file
def test_nothing_that_was_read_is_run(file):
    """No eval, exec or pickle; cifar10.py alone takes the Unpickler, to hand it functions that are harmless."""
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in {"eval", "exec", "compile", "__import__", "os.system", "os.popen"}
            given = {(keyword.arg, ast.unparse(keyword.value)) for keyword in node.keywords}
            assert not given & {("allow_pickle", "True"), ("shell", "True"), ("weights_only", "False")}
    known = {"pickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml"}
    found = {parts[0] for parts in imports(file)} & known
    if module_parts(file) == ("gpucnn", "data", "cifar10"):
        uses = {ast.unparse(node) for node in ast.walk(tree) if ast.unparse(node).startswith("pickle.")}
        assert (found, uses) == ({"pickle"}, {"pickle.Unpickler"})
    else:
        assert not found


def test_importing_gpucnn_loads_nothing_heavy():
    heavy = ["numba", "cupy", "scipy", "torch", "matplotlib", "rich", "click", "PIL", "mpi4py"]
    code = f"import sys, gpucnn; print(*(name for name in {heavy} if name in sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == ""


def test_packages_are_the_folders_with_an_init():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = [file.parent.relative_to(ROOT).parts for file in FILES if file.name == "__init__.py"]
    names = {".".join(("gpucnn_kernels", *parts[1:]) if parts[0] == "kernels" else parts) for parts in folders}
    assert set(listed) == names
    assert {file.parent.relative_to(ROOT).parts for file in FILES} == set(folders), "a folder lacks its __init__.py"


def test_what_is_no_python_is_packed_with_it():
    """Whatever lies in a package beside its code, but for what explains it to readers of the repository."""
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    packed = {
        file
        for name, each in patterns.items()
        for pattern in each
        for file in ROOT.joinpath(*name.replace("gpucnn_kernels", "kernels").split(".")).glob(pattern)
    }
    there = {
        file
        for folder in ("gpucnn", "kernels")
        for file in (ROOT / folder).rglob("*.*")
        if file.is_file() and file.suffix not in (".py", ".pyc", ".md")
    }
    assert there == packed != set()


@each_file
def test_a_file_has_a_name_and_a_size_to_read(file):
    assert file.stem not in {"utils", "util", "helpers", "helper", "misc", "common"}
    assert len(file.read_text().splitlines()) <= 300
