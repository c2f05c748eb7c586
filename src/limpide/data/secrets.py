"""Secrets in text: keys, tokens, passwords, known by their shape, and by their checksum where the format has one.

Not found: a password that no such word announces, a key of a service that is not listed and stands alone, anything
encoded. An empty list is not a proof that there is none. Sources of the shapes: the makers' documentation; the
checksum of GitHub's tokens (CRC-32 in base 62, its blog of 2021-04-05); RFC 7519 (web tokens), RFC 7468 (private keys).
"""

import base64
import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from limpide.data.found import Found

SHORTEST_VALUE = 16  # characters of a value given to a name such as api_key
SHORTEST_PASSWORD = 8
LONGEST_KEY = 16_384  # characters of a private key
LEAST_ENTROPY = 3.2  # bits a character of such a value: a random one of 16 has about 3.8, a word repeated about 2
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# What is written where a secret would be: a hole to fill, a name, an example.
PLACEHOLDER = re.compile(
    r"^(?:[*•.x_-]+|pass|pwd|pw|.*(?:\.\.\.|…)|<.*>|\[.*\]|\{.*\}|\$.*|%.*%)$"
    r"|(?i:example|exemple|placeholder|your|votre|changeme|dummy|redacted|masked|insert|secret|password|passwd)"
)


@dataclass(frozen=True)
class Shape:
    """anchors: one of them is in every text that has the shape, in lower case. place: the group that is the secret."""

    name: str
    anchors: tuple[str, ...]
    pattern: re.Pattern[str]
    is_one: Callable[[str], bool] = lambda value: True
    place: int = 0


def github_checksum_holds(token: str) -> bool:
    """Whether the last six characters are the CRC-32 of those between the prefix and them, in base 62."""
    body = token.split("_", 1)[1]
    number = 0
    for char in body[-6:]:
        number = number * 62 + BASE62.index(char)
    return number == zlib.crc32(body[:-6].encode())


def is_web_token(token: str) -> bool:
    """Whether the first part decodes to a JSON header that names an algorithm (RFC 7515, section 4.1.1)."""
    head = token.split(".")[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except ValueError:
        return False
    return isinstance(header, dict) and "alg" in header


def entropy(value: str) -> float:
    """Bits a character of a text, from how often each of its characters comes (Shannon 1948)."""
    return -sum(n / len(value) * math.log2(n / len(value)) for n in Counter(value).values())


def _looks_drawn(value: str) -> bool:
    mixed = any(c.isdigit() for c in value) and any(c.isalpha() for c in value)
    return mixed and entropy(value) >= LEAST_ENTROPY and PLACEHOLDER.search(value) is None


def _looks_a_password(value: str) -> bool:
    """Two kinds of characters beside letters and a length that nobody types by chance: 'p4ss-Word', not 'E-104'."""
    kinds = (str.islower, str.isupper, str.isdigit, lambda c: not c.isalnum())
    return sum(any(kind(c) for c in value) for kind in kinds) >= 3 and PLACEHOLDER.search(value) is None


def _is_not_a_hole(value: str) -> bool:
    return PLACEHOLDER.search(value) is None


_NAMED = r"(?:api[_-]?key|secret(?:[_-]?(?:access[_-]?)?key)?|access[_-]?(?:key|token)|auth[_-]?token|client[_-]?secret"
_NAMED += r"|account[_-]?key|private[_-]?token|bearer|token)"
_GAP = r"[ \t]{0,3}"  # bounded, so that no run of spaces takes long
_GIVEN = rf"[\"'`]?{_GAP}(?:=>|=|:|[ \t]){_GAP}[\"'`]?"
_WORD = r"(?:pass(?:word|wd|phrase)?|pwd|mot de passe|mdp)"

SHAPES: tuple[Shape, ...] = (
    Shape(
        "private_key",
        ("private key",),
        # To its end, headers with hyphens (Proc-Type) included; of a key cut short, the lines that are encoded.
        re.compile(
            r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY(?: BLOCK)?-----"
            rf"(?:(?:(?!-----).){{0,{LONGEST_KEY}}}-----END [A-Z ]{{0,30}}-----|(?:(?:\s|\\n)+[A-Za-z0-9+/=]{{16,}})*)",
            re.DOTALL,
        ),
    ),
    Shape(
        "aws_key",
        ("akia", "asia"),
        re.compile(r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z2-7]{16}(?![A-Za-z0-9])"),
        _is_not_a_hole,
    ),
    Shape(
        "github_token",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
        re.compile(r"(?<![A-Za-z0-9_])gh[pousr]_[A-Za-z0-9]{36}(?![A-Za-z0-9])"),
        github_checksum_holds,
    ),
    Shape("github_token", ("github_pat_",), re.compile(r"(?<!\w)github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}(?!\w)")),
    Shape("gitlab_token", ("glpat-",), re.compile(r"(?<!\w)glpat-[A-Za-z0-9_-]{20,}")),
    Shape("access_key", ("lmp_",), re.compile(r"(?<!\w)lmp_[0-9a-f]{12}_[0-9a-f]{64}(?!\w)")),  # of Limpide's gateway
    Shape("hugging_face_token", ("hf_",), re.compile(r"(?<!\w)hf_[A-Za-z0-9]{34}(?!\w)")),
    Shape("slack_token", ("xox",), re.compile(r"(?<!\w)xox[abeprs]-[A-Za-z0-9-]{20,}")),
    Shape("google_key", ("aiza",), re.compile(r"(?<!\w)AIza[A-Za-z0-9_-]{35}(?![\w-])")),
    Shape("payment_service_key", ("_live_",), re.compile(r"(?<!\w)(?:sk|rk)_live_[A-Za-z0-9]{20,}")),
    Shape(
        "model_service_key",
        ("sk-",),
        re.compile(r"(?<![\w-])sk-(?:ant-|proj-|or-)?[A-Za-z0-9_-]{32,}"),
        _looks_drawn,
    ),
    Shape(
        "web_token",
        ("eyj",),
        re.compile(r"(?<![\w-])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"),
        is_web_token,
    ),
    Shape(
        "url_password",
        ("://",),
        re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@<>\"']{1,64}:([^\s:/@<>\"']{3,128})@[\w.-]+"),
        _is_not_a_hole,
        place=1,
    ),
    Shape(
        "named_secret",
        ("key", "token", "secret", "bearer"),
        re.compile(rf"(?i)(?<![a-z]){_NAMED}{_GIVEN}([A-Za-z0-9_+/=.~-]{{{SHORTEST_VALUE},512}})"),
        _looks_drawn,
        place=1,
    ),
    Shape(
        "password",
        ("pass", "pwd", "mdp"),
        re.compile(
            rf"(?i)(?<![a-z]){_WORD}[\"'`]?{_GAP}(?:=>|=|:){_GAP}[\"'`]?([^\s\"'`,;]{{{SHORTEST_PASSWORD},128}})"
        ),
        _looks_a_password,
        place=1,
    ),
    Shape(
        "password",
        ("password", "passe"),
        # In a sentence: 'the password is …', 'le mot de passe du wifi est …'.
        re.compile(
            rf"(?i)(?<![a-z]){_WORD}(?:[ \t][\w'’-]{{1,20}}){{0,3}}[ \t](?:is|est){_GAP}[:\"'`«]?{_GAP}"
            rf"([^\s\"'`,;«»]{{{SHORTEST_PASSWORD},128}})"
        ),
        lambda value: _looks_a_password(value) and any(c.isdigit() for c in value),
        place=1,
    ),
)
KINDS: Mapping[str, str] = {
    "private_key": "private key",
    "aws_key": "access key of a cloud account (AWS)",
    "github_token": "GitHub token",
    "gitlab_token": "GitLab token",
    "access_key": "access key of Limpide's gateway",
    "hugging_face_token": "Hugging Face token",
    "slack_token": "Slack token",
    "google_key": "Google key",
    "payment_service_key": "key of a payment service",
    "model_service_key": "key of a service of models",
    "web_token": "web token (JWT)",
    "url_password": "password in an address",
    "named_secret": "secret given to a name",
    "password": "password",
}


def find_secrets(text: str) -> list[Found]:
    """Secrets in `text`, by place, without overlap; where two shapes meet, the one listed first."""
    lower = text.lower()
    found: list[Found] = []
    for shape in SHAPES:
        if any(anchor in lower for anchor in shape.anchors):
            for start, end in _places(shape, text):
                if all(end <= other.start or start >= other.end for other in found):
                    found.append(Found(shape.name, start, end, text[start:end]))
    return sorted(found, key=lambda one: one.start)


def _places(shape: Shape, text: str) -> Iterator[tuple[int, int]]:
    for match in shape.pattern.finditer(text):
        if shape.is_one(match[shape.place]):
            yield match.span(shape.place)


def shortened(found: Found) -> str:
    """Enough to find it where it stands, never the value: its first characters, no more than a quarter of them."""
    return f"{found.text[: min(4, len(found.text) // 4)]}…"
