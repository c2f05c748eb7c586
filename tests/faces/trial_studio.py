"""A studio with one more page, whose button starts a job that counts: `python trial_studio.py COUNT FOLDER PORT`.

The job is this file again, called as `limpide` would be: it tells where it is, waits in the middle until a file `go`
is there, ends when it is stopped, and goes on from where it was.
"""

import json
import sys
import time
from pathlib import Path

STEP_SECONDS = 0.05


def count(upto: int) -> None:
    def tell(**event: object) -> None:
        print(json.dumps(event), file=sys.stderr, flush=True)

    place, beside = Path("counted"), Path("counted.tmp")
    done = int(place.read_text()) if place.exists() else 0
    tell(event="start", task="Counting", total=upto, done=done)
    tell(event="warning", text="<b>bold</b> & odd")
    tell(event="message", text="signature verified: press-1.0.0, key ab12")
    try:
        while done < upto:
            while 2 * done >= upto and not Path("go").exists():
                time.sleep(STEP_SECONDS)
            done += 1
            beside.write_text(str(done))
            beside.replace(place)
            tell(event="move", task="Counting", done=done, total=upto, seconds_left=(upto - done) * STEP_SECONDS)
    except KeyboardInterrupt:
        tell(error="Interrupted", exit_code=130, what="Stopped.")
        raise SystemExit(130) from None
    tell(event="end", task="Counting", seconds=upto * STEP_SECONDS)
    print(json.dumps({"counted": done}))


def main(upto: str, folder: str, port: str) -> None:
    from limpide.core.progress import progress_for
    from limpide.studio import jobs, pages_list, parts
    from limpide.studio.frame import Page
    from limpide.studio.launch import run_studio
    from limpide.studio.visit import Visit

    def build(visit: Visit) -> None:
        with parts.stack() as box:
            parts.button("Begin", lambda: begin(visit, box), kind="primary")
            last = visit.jobs.last("trial")
            if last is not None:
                parts.job_panel(visit, last, lambda: parts.tell("good", "seen to end"))

    def begin(visit: Visit, box: parts.Element) -> None:
        with box:
            parts.job_panel(visit, visit.jobs.start("trial", ["count", upto], who=visit.name))

    jobs.COMMAND = (sys.executable, __file__)
    pages_list.HIDDEN_PAGES = (*pages_list.HIDDEN_PAGES, Page("/trial", "elsewhere", build))
    run_studio(Path(folder), port=int(port), show=False, progress=progress_for("plain"))


if __name__ == "__main__":
    if sys.argv[1] == "count":
        count(int(sys.argv[2]))
    else:
        main(*sys.argv[1:])
