"""What users see when something goes wrong, as the tests that cause it saw it: docs/failures.md is made of it.

    @pytest.mark.failure("the weights file is damaged")
    def test_...():
        code, out, err = gpucnn("eval run")
        saw(code, err)

A marked test calls `saw`, and fails where that is not what bench/results/failures.json says of its case. With
--update-failures it is written there instead, in one process (-n 0); `python bench/report.py` then writes the table.
"""

import json
import re
from pathlib import Path

import pytest

RECORD = Path(__file__).parents[1] / "bench" / "results" / "failures.json"
_WORTH_TELLING = ("error: ", "hint: ", "note: ", "stopp", "next: ")
_PROGRAM = re.compile(r"\S+ -m gpucnn")  # as a test calls it; users type gpucnn

_running: dict = {}  # the case of the marked test that runs now, and whether it told what it saw


def pytest_addoption(parser):
    parser.addoption("--update-failures", action="store_true", help="write down what users see of failures")


def pytest_configure(config):
    config.addinivalue_line("markers", "failure(case): causes a failure that docs/failures.md lists")


@pytest.fixture(autouse=True)
def _failure(request):
    mark = request.node.get_closest_marker("failure")
    if mark is None:
        yield
        return
    _running.update(case=mark.args[0], told=False, update=request.config.getoption("--update-failures"))
    yield
    told = _running["told"]
    _running.clear()
    assert told, "a test that is marked as a failure has to tell what the user sees: saw(code, err)"


def saw(code, text, *masks):
    """The exit code and what the user read; each mask (pattern, replacement) hides what differs from run to run.

    Of `text` the lines count that say what is wrong, what to do, and what comes next. Without the mark, nothing
    happens: functions that many tests share may call it.
    """
    if not _running:
        return
    for pattern, replacement in ((_PROGRAM, "gpucnn"), *masks):
        text = re.sub(pattern, replacement, text)
    found = {"exit": code, "says": [line for line in text.splitlines() if line.startswith(_WORTH_TELLING)]}
    assert found["says"], f"nothing that users could go by: {text!r}"
    _running["told"] = True
    known = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    if _running["update"]:
        known[_running["case"]] = found
        RECORD.write_text(json.dumps(known, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    else:
        assert known.get(_running["case"]) == found, "write it down: pytest -n 0 -m failure --update-failures"
