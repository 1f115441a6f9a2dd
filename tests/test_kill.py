"""Runs that are killed again and again lose nothing: see kill_runs.py. `make test-faults` kills 200 times."""

import re
import subprocess
import sys
from pathlib import Path


def test_runs_that_are_killed_at_any_moment(request):
    """In a process of its own, which forks; one that has imported nothing else and has one thread."""
    kills = request.config.getoption("--kills")
    command = [sys.executable, Path(__file__).with_name("kill_runs.py"), "--kills", str(kills), "--seed", str(kills)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60 + 5 * kills)
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    assert re.match(rf"{kills} kills in ", done.stdout)
