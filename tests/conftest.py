"""Shared by all tests: the `device` fixture, hypothesis settings, and an account of what did not run.

--strict-skips makes the run fail where a test was skipped for any reason but a missing GPU.
"""

import gc
import os
from collections import Counter
from contextlib import suppress

# Before NumPy is imported: the threads of its BLAS wait for one another by spinning, and on a busy machine a
# LeNet step then takes 10 to 80 times as long as on one thread.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest

from gpucnn.backend import Device, probe_cuda

pytest_plugins = ["pytester", "failures"]

with suppress(ModuleNotFoundError):  # a machine with a GPU may have pytest and nothing more: make test-gpu
    import hypothesis

    hypothesis.settings.register_profile(
        "repeatable",
        deadline=None,
        derandomize=True,
        print_blob=False,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],  # a busy machine is no fault of a test
    )
    hypothesis.settings.load_profile("repeatable")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    """Every device there is, one after another; float64 takes the reference kernels on a GPU, too."""
    if request.param == "cpu":
        return Device("cpu")
    if fault := probe_cuda():
        pytest.skip(f"no GPU: {fault}")
    return Device("cuda", kernels="xp")


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    """The test runs in an empty folder; compiled kernels come from the user's cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GPUCNN_DATA_DIR", raising=False)
    return tmp_path


@pytest.fixture
def empty_folder(own_folder, monkeypatch):
    """The same, without the user's caches."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(own_folder / "cache"))
    return own_folder


def pytest_addoption(parser, pluginmanager):
    if not pluginmanager.hasplugin("timeout"):
        parser.addini("timeout", "of pytest-timeout, which is not installed")
    parser.addoption("--draws", type=int, default=20, help="how many drawn shapes each kernel is tried on")
    parser.addoption("--kills", type=int, default=8, help="how often runs are killed that then go on")
    parser.addoption("--strict-skips", action="store_true", help="fail on every skip that is not for want of a GPU")


def pytest_collection_finish(session):
    """Compiling in Python makes objects by the million: looking for cycles as often as usual, among all that is there
    for good, takes a tenth of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_configure(config):
    config.addinivalue_line("markers", "gpu: needs a GPU")
    config.addinivalue_line("markers", "timeout(seconds): of pytest-timeout, where it is installed")
    config.pluginmanager.register(SkipAccount(config), "skip-account")


class SkipAccount:
    """Counts what was skipped, and why; a whole file skipped at its import counts as one."""

    def __init__(self, config):
        self.config = config
        self.reasons = Counter()

    def pytest_runtest_logreport(self, report):
        if report.skipped and not hasattr(report, "wasxfail"):
            self.reasons[report.longrepr[2].removeprefix("Skipped: ")] += 1

    def pytest_collectreport(self, report):
        if report.skipped:
            self.reasons["whole file, " + report.longrepr[2].removeprefix("Skipped: ")] += 1

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session):
        strict = self.config.getoption("--strict-skips")
        if strict and session.exitstatus == 0 and any("no GPU" not in reason for reason in self.reasons):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self):
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter and not hasattr(self.config, "workerinput"):  # a worker of pytest-xdist has nothing to tell
            each = ", ".join(f"{count}: {reason}" for reason, count in self.reasons.most_common())
            reporter.write_line(f"did not run: {self.reasons.total()}" + (f" ({each})" if each else ""))
