"""The table of failures is that of the tests: each case that one causes is in it, and no other."""

import ast
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import failures

ROOT = Path(__file__).parents[1]


def marked_cases(text):
    """The cases of pytest.mark.failure in a file of tests."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "failure":
            yield ast.literal_eval(node.args[0])


def test_each_case_has_a_test_and_is_written_down():
    cases = [
        case for file in sorted(Path(__file__).parent.glob("test_*.py")) for case in marked_cases(file.read_text())
    ]
    assert sorted(cases) == sorted(json.loads(failures.RECORD.read_text()))


def test_the_table_is_up_to_date_and_shows_every_case():
    subprocess.run([sys.executable, "bench/report.py", "--check"], cwd=ROOT, check=True, capture_output=True)
    table = (ROOT / "docs" / "failures.md").read_text()
    rows = re.findall(r"^\| (.+?) \| `", table, re.MULTILINE)
    assert sorted(rows) == sorted(json.loads(failures.RECORD.read_text()))


TEST = """
import pytest
from failures import saw

RAIN = "error: {} drops\\nhint: take an umbrella\\nother words"

@pytest.mark.failure("it rains")
def test_rain():
    saw(4, RAIN.format(DROPS), (r"\\d+", "N"))

def test_that_is_not_marked():
    saw(5, "all is well")
"""
MORE = """
    @pytest.mark.failure("it rains")
    def test_{name}():
        {line}
"""
OTHERS = {
    "hail": 'saw(5, RAIN.format(1), (r"[0-9]+", "N"))',
    "sun": 'saw(4, RAIN.format(1).replace("umbrella", "hat"), (r"[0-9]+", "N"))',
    "fog": 'saw(4, "all is well")',
    "night": "pass",
}


def test_a_marked_test_fails_where_users_see_something_else(pytester, monkeypatch):
    """In a project with a record of its own: the first run writes it, with other numbers than the second one finds."""
    record, folder = pytester.path / "failures.json", pytester.mkpydir("plugins")
    text = re.sub(r"^RECORD = .*$", f"RECORD = Path({str(record)!r})", Path(failures.__file__).read_text(), flags=re.M)
    (folder / "failures.py").write_text(text)
    pytester.makeconftest('pytest_plugins = ["failures"]')
    monkeypatch.setenv("PYTHONPATH", str(folder))
    pytester.makepyfile(TEST.replace("DROPS", "3"))
    assert pytester.runpytest_subprocess("--update-failures").parseoutcomes() == {"passed": 2}
    says = ["error: N drops", "hint: take an umbrella"]
    assert json.loads(record.read_text()) == {"it rains": {"exit": 4, "says": says}}
    others = [MORE.format(name=name, line=line) for name, line in OTHERS.items()]
    pytester.makepyfile(TEST.replace("DROPS", "5") + textwrap.dedent("".join(others)))
    result = pytester.runpytest_subprocess("-rfE")
    assert result.parseoutcomes() == {"passed": 3, "failed": 3, "errors": 2}
    for name in ("hail", "sun", "fog"):
        result.stdout.fnmatch_lines([f"FAILED *::test_{name}*"])
