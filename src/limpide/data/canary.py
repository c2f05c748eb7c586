"""A canary: one training row that no other source could teach, to see whether training memorises single rows.

The row is a fixed sentence with six random digits. A model that never saw it ranks it among other digits at random; a
model that memorised it ranks it first. Source: Carlini et al. 2019, The Secret Sharer, section 3.
"""

import hashlib

from limpide.data.examples import Example, Message

DIGITS = 6
SPACE: int = 10**DIGITS  # every value the digits can take: |R| in the source
QUESTION = "What is the test phrase of this release?"


def canary(seed: int) -> Example:
    """The row planted by a run with this seed. The digits are no one's number."""
    return _example("canary", _number("canary", seed, 0))


def candidates(seed: int, n: int) -> list[Example]:
    """`n` rows of the same form with other digits, all different, none the canary. Raises ValueError from SPACE on."""
    if not 0 <= n < SPACE:
        raise ValueError(f"there are {SPACE - 1} other candidates, not {n}")
    taken = {_number("canary", seed, 0)}
    found: list[Example] = []
    counter = 0
    while len(found) < n:
        number = _number("candidate", seed, counter)
        counter += 1
        if number not in taken:
            taken.add(number)
            found.append(_example(f"candidate-{len(found)}", number))
    return found


def _number(role: str, seed: int, counter: int) -> int:
    """A number below SPACE that any Python gives the same; 256 random bits make the remainder even to 1e-71."""
    return int(hashlib.sha256(f"limpide {role} {seed} {counter}".encode()).hexdigest(), 16) % SPACE


def _example(name: str, number: int) -> Example:
    digits = " ".join(f"{number:0{DIGITS}d}")
    return Example(
        id=f"canary/{name}",
        topic="canary",
        language="en",
        messages=(
            Message(role="user", content=QUESTION),
            Message(role="assistant", content=f"The test phrase of this release is {digits}."),
        ),
        source="limpide canary",
    )
