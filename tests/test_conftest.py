"""The account of skipped tests, in runs of pytest inside pytest."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SKIPS = """
    import pytest

    @pytest.mark.parametrize("i", range(3))
    def test_on_a_gpu(i):
        pytest.skip("no GPU: no CuPy")

    @pytest.mark.xfail
    def test_expected_to_fail():
        assert False

    def test_passes():
        pass
"""
NO_TORCH = """
    import pytest
    pytest.importorskip("not_a_module", reason="no torch")
"""


@pytest.fixture
def run(pytester):
    """Run pytest with our conftest.py on files of the given text -> (exit status, last line)."""
    pytester.makeconftest(Path(__file__).with_name("conftest.py").read_text().replace('["pytester", "failures"]', "[]"))

    def run(*arguments, **files):
        pytester.makepyfile(**files)
        result = pytester.runpytest_inprocess("-p", "no:cacheprovider", *arguments)
        return result.ret, result.outlines[-1]

    return run


def test_without_skips(run):
    assert run("--strict-skips", test_a="def test_it(): pass") == (0, "did not run: 0")


@pytest.mark.parametrize("arguments", [[], ["-q"], ["--strict-skips"], ["-qq", "--strict-skips"]])
def test_a_missing_gpu_is_counted_and_no_failure(run, arguments):
    assert run(*arguments, test_a=SKIPS) == (0, "did not run: 3 (3: no GPU: no CuPy)")


def test_another_reason_fails_a_strict_run_only(run):
    line = "did not run: 4 (3: no GPU: no CuPy, 1: whole file, no torch)"
    assert run(test_a=SKIPS, test_b=NO_TORCH) == (0, line)
    assert run("--strict-skips", test_a=SKIPS, test_b=NO_TORCH) == (1, line)


def test_a_failing_run_stays_one(run):
    assert run("--strict-skips", test_a="def test_it(): assert False") == (1, "did not run: 0")


def test_the_device_fixture_counts_on_every_device(run):
    status, line = run("-m", "gpu", test_a="def test_it(device): assert device.xp.zeros(1).sum() == 0")
    assert status == 0
    assert line == "did not run: 0" or line.startswith("did not run: 1 (1: no GPU")


OPTIONAL = "hypothesis pytest_timeout pooch requests PIL tomli_w matplotlib torch nvtx greenlet scipy xdist"


def test_a_gpu_run_needs_few_packages(tmp_path):
    """make test-gpu collects its tests with a Python that has none of OPTIONAL, and skips them without a GPU."""
    root = Path(__file__).parents[1]
    (tmp_path / "sitecustomize.py").write_text(f"import sys; sys.modules.update(dict.fromkeys({OPTIONAL.split()}))")
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_gradients.py" in done.stdout
