"""What a library writes to file descriptor 2 is dropped; what Limpide says is not. In a process of its own."""

import io
import subprocess
import sys
from contextlib import redirect_stderr

from limpide.cli.standard_error import for_python_alone

PROGRAM = """
import os, sys
from limpide.cli.standard_error import for_python_alone
before = sys.stderr
try:
    with for_python_alone():
        os.write(2, b"a caller's words\\n")
        print("from inside", file=sys.stderr)
        raise KeyError
except KeyError:
    pass
assert sys.stderr is before
os.write(2, b"from after\\n")
"""


def test_only_python_writes_inside() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "from inside\nfrom after\n")


def test_a_stream_somebody_put_there_is_left_alone() -> None:
    given = io.StringIO()
    with redirect_stderr(given), for_python_alone():
        print("said", file=sys.stderr)
    assert given.getvalue() == "said\n"
