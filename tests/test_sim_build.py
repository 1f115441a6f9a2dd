"""What the simulator has built and keeps on disk: damaged files, and folders that cannot be written to."""

import os
import subprocess
import sys

import pytest
from gpucnn_kernels.offline import CompileError
from gpucnn_kernels.sim import compiler
from sim_kernels import kernel

ONCE = f"""
import logging, numpy, gpucnn_kernels.sim as sim
y, said = numpy.zeros(1, numpy.float32), []
listener = logging.Handler()
listener.emit = lambda record: said.append(record.getMessage())
logging.getLogger("gpucnn.kernels").addHandler(listener)
for value in (3, 4):
    module = sim.RawModule(code={kernel("y[t] = V;")!r}, options=(f"-DV={{value}}",))
    module.get_function("k")((1,), (1,), (y,))
    print(int(y[0]), end=" ")
print(len(said), *said)
"""


def run_once(cache):
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    done = subprocess.run([sys.executable, "-c", ONCE], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_library_that_was_cut_short_is_built_again(tmp_path):
    assert run_once(tmp_path) == "3 4 0\n"
    built = {file: file.read_bytes() for file in (tmp_path / "gpucnn" / "kernels").iterdir()}
    assert len(built) == 3  # the runtime and two modules
    for keep, (file, content) in zip(
        (0.7, 0.0, 0.999), sorted(built.items(), key=lambda item: -len(item[1])), strict=True
    ):
        file.write_bytes(content[: int(keep * len(content))])
    assert run_once(tmp_path) == "3 4 0\n"
    assert all(len(file.read_bytes()) == len(content) for file, content in built.items())


def test_a_cache_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("")
    said = run_once(tmp_path / "file")
    assert said.startswith(f"3 4 1 nothing can be kept in {tmp_path}/file/gpucnn/kernels (Not a directory), so kernels")
    assert "XDG_CACHE_HOME" in said
    assert (tmp_path / "file").read_text() == ""


DOUBLING = """
template <int n, long m> struct Sum { static const long of = Sum<n - 1, 2 * m>::of + Sum<n - 1, 2 * m + 1>::of; };
template <long m> struct Sum<0, m> { static const long of = m; };
long x = Sum<60, 0>::of;
"""


@pytest.mark.parametrize(("limit", "most"), [("SECONDS", 1), ("KILOBYTES", 200_000)])
def test_a_text_that_no_compiler_comes_to_the_end_of(limit, most, monkeypatch):
    monkeypatch.setattr(compiler, limit, most)
    with pytest.raises(CompileError, match=r"\w \w"):
        compiler.find_compiler().run(["-x", "c++", "-fsyntax-only", "-"], DOUBLING)
    compiler.find_compiler().run(["-x", "c++", "-fsyntax-only", "-"], DOUBLING.replace("60", "6"))
