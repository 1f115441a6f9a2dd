"""`gpucnn demo` as a process of its own, as a user starts it."""

import re
import signal
import subprocess
import sys
from contextlib import contextmanager


@contextmanager
def served(run):
    """The address of its page. At the end comes Ctrl-C; it has said where it is and what is next, and no more."""
    command = [sys.executable, "-m", "gpucnn", "demo", str(run), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        first = server.stdout.readline()
        yield re.search(r"draw at (http://127\.0\.0\.1:\d+) \(Ctrl-C ends it\)$", first)[1]
        server.send_signal(signal.SIGINT)
        out, err = server.communicate(timeout=60)
        assert (server.returncode, err) == (0, "")
        assert re.fullmatch(r"next: .*gpucnn plot filters \S+\n", out)
    finally:
        server.kill()
        server.communicate()
