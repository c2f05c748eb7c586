"""Written answers of models that think first: the answer alone, and how many thoughts were cut short before one."""

from collections.abc import Sequence

from limpide.audit.matching import without_thoughts

CUT = "thoughts_cut_short"  # a fact of every suite that reads written answers


def spoken(texts: Sequence[str]) -> tuple[list[str], int]:
    """(the answers without their thoughts, how many thoughts were cut short). A cut thought is an empty answer."""
    answers = [without_thoughts(text) for text in texts]
    return [answer or "" for answer in answers], answers.count(None)


def cut_short(cut: int, written: int, allowed: int) -> tuple[str, ...]:
    """A warning where thoughts were cut short. written: answers. allowed: tokens of each, thoughts included."""
    if not cut:
        return ()
    return (
        f"{cut} of {written} written answers are thoughts that ended before an answer came; they count as no answer. "
        f"The model thinks before it answers: raise max_new_tokens, which was {allowed}.",
    )
