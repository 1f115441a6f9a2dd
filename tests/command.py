"""`gpucnn ...` as a user types it, run in this process and in the current folder."""

import re
import shlex
from pathlib import Path

from click.testing import CliRunner
from failures import saw

from gpucnn.cli import main


def gpucnn(line):
    """(exit code, stdout, stderr)"""
    result = CliRunner().invoke(main, shlex.split(line))
    return result.exit_code, result.stdout, result.stderr


def succeed(line):
    """stdout"""
    code, out, err = gpucnn(line)
    assert code == 0, err
    return out


def fail(line, code, *patterns):
    """It exits with `code`, says `error:` and `hint:` on stderr, shows no traceback, and writes nothing."""
    before = sorted(Path().rglob("*"))
    found, _, err = gpucnn(line)
    assert found == code, err
    assert err.startswith("error: ")
    assert "\nhint: " in err
    assert len(err.splitlines()) == 2, err
    assert "Traceback" not in err
    for pattern in patterns:
        assert re.search(pattern, err), err
    assert sorted(Path().rglob("*")) == before
    saw(found, err)
