"""The process of one job: `python -m limpide.studio.job_process FOLDER` runs its command and writes how it ended.

It outlives the studio that started it, imports nothing heavy, and leads its own process group: the order to stop
reaches the command as Ctrl-C would, while this process waits for it to end.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from limpide.core import files
from limpide.studio.jobs import record_process


def main(folder: Path) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for the command, which then ends by itself
    record_process(folder, os.getpid())
    job = files.read_json(folder / "job.json")
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        # An ignored signal stays ignored across exec, so the command is given the ordinary one back.
        child = subprocess.Popen(
            job["command"], cwd=job["home"], stdin=subprocess.DEVNULL, stdout=out, stderr=err, preexec_fn=_interruptible
        )
        code = child.wait()
    files.write_json(folder / "ended.json", {"code": code, "ended": time.time()})
    return code


def _interruptible() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
