"""A program nsys and a package nvtx that only say what they were asked for, and write reports made by hand."""

import json
import os
import sys

import pytest
from nsys_reports import reports

NVTX = """
class Domain:
    def get_event_attributes(self, message): print("attributes", message); return message
    def push_range(self, attributes): print("push", attributes)
    def pop_range(self): print("pop")
def get_domain(name): print("domain", name); return Domain()
"""

_PROGRAM = """#!{python}
import json, pathlib, subprocess, sys
how = sys.argv[1:]
value = lambda name: next(each.partition("=")[2] for each in how if each.startswith(name + "="))
with open({log!r}, "a") as log: log.write(json.dumps(how) + "\\n")
{body}
"""
WRITES = """
if how[0] == "profile":
    pathlib.Path(value("--output") + ".nsys-rep").write_text("a report")
else:
    for name, text in json.loads(pathlib.Path({texts!r}).read_text()).items():
        pathlib.Path(value("--output") + f"_{{name}}.csv").write_text(text)
"""
RUNS = """
if how[0] == "profile":
    done = subprocess.run(how[how.index(sys.executable):], capture_output=True, text=True)
    pathlib.Path("said").write_text(done.stdout)
    if done.returncode: sys.exit(done.stderr)
"""


@pytest.fixture
def fake_nsys(tmp_path, monkeypatch):
    """Puts a program named nsys on the PATH; returns what will tell how it was called."""
    log = tmp_path / "log"

    def install(body=WRITES, texts=None, mode=0o755):
        kept = tmp_path / "texts.json"
        kept.write_text(json.dumps(reports() if texts is None else texts))
        program = tmp_path / "bin" / "nsys"
        program.parent.mkdir()
        program.write_text(_PROGRAM.format(python=sys.executable, log=str(log), body=body.format(texts=str(kept))))
        program.chmod(mode)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
        return lambda: [json.loads(line) for line in log.read_text().splitlines()]

    return install
