"""A project with a signed release, small enough for a test: real evidence, real signature, a random tiny model."""

from pathlib import Path

from evidence_sample import evidence
from limpide.core import files
from limpide.core.measure import save_measures
from limpide.document.evidence import save_evidence
from limpide.document.write import write_documents
from limpide.release.keys import KeyPair, new_keys
from limpide.release.sign import sign_folder
from limpide.studio.jobs import Jobs
from limpide.studio.project import Project
from tiny_gguf import write_gguf

NAME = "press-operator-assistant-1.0.0"
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=alert(1)>"


def released(project: Path, *, approval: str = "none", sign: bool = True) -> tuple[Path, KeyPair]:
    """(folder of the release, its keys). An item and a file hold what would be markup if it were read as such."""
    sample = evidence()
    folder = project / "releases" / NAME
    write_documents(sample, folder)
    save_evidence(folder / "evidence" / "evidence.json", sample)
    save_measures(folder / "evidence" / "measures.jsonl", sample.measures)
    for subject in ("base", "result"):
        rows = [item(k, f"{subject} says {k}") for k in range(1, 26)]
        files.write_jsonl(folder / "evidence" / "items" / f"{subject}-domain.jsonl", rows)
    base = project / "base.gguf"
    write_gguf(base)
    files.write_bytes(folder / "gguf" / "model-q8_0.gguf", base.read_bytes())
    lock = {"approval": approval, "base": {"ref": str(base), "digest": ""}, "steps": {}}
    files.write_json(folder / "recipe.lock.json", lock)
    keys = new_keys(project / "keys" / "release.pem")
    if sign:
        sign_folder(folder, keys.private)
    return folder, keys


def end_jobs(project: Path) -> None:
    """Stop what a test left running: services outlive the studio that started them."""
    jobs = Jobs(Project(project).jobs, project)
    for job in jobs.all():
        jobs.stop(job, grace=5)


def item(number: int, answer: str) -> dict[str, object]:
    prompt = f"Question {number}? {HOSTILE}"
    group = {"slice": "held_out", "language": "en"}
    return {"id": f"q{number}", "group": group, "metric": {"normalised": 1.0}, "prompt": prompt, "answer": answer}
