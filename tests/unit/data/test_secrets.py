"""Secrets: what is found by shape and checksum, what is not, and that no value is shown."""

import zlib

import pytest

from limpide.data.secrets import BASE62, KINDS, SHAPES, entropy, find_secrets, github_checksum_holds, shortened

RANDOM = "Zk83hQ9bXw27LpTs5vNc4RmYd6Jf1G"  # 30 characters, drawn for this test


def github(body: str = RANDOM, prefix: str = "ghp_") -> str:
    """A token whose checksum holds, written from its definition: CRC-32 in base 62, six digits."""
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(6):
        number, rest = divmod(number, 62)
        digits = BASE62[rest] + digits
    return prefix + body + digits


FOUND = [
    ("github_token", github()),
    ("github_token", github(prefix="ghs_")),
    ("github_token", "github_pat_" + "A1b2" * 5 + "Zz_" + "9" * 59),
    ("aws_key", "AKIA" + "QWERTY234567ASDF"),
    ("gitlab_token", "glpat-" + RANDOM[:20]),
    ("access_key", "lmp_" + "0a" * 6 + "_" + "1b" * 32),
    ("hugging_face_token", "hf_" + RANDOM + "AbCd"),
    ("slack_token", "xoxb-123456789012-" + RANDOM[:12]),
    ("google_key", "AIza" + RANDOM + "Ab_-3"),
    ("payment_service_key", "sk_live_" + RANDOM[:24]),
    ("model_service_key", "sk-proj-" + RANDOM + "x9"),
    ("web_token", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTYifQ.c2lnbmF0dXJlLWJ5dGVz"),
    ("private_key", "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----"),
    ("private_key", "-----BEGIN OPENSSH PRIVATE KEY-----"),
    (
        "private_key",
        f"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\n{RANDOM}\n-----END RSA PRIVATE KEY-----",
    ),
    ("private_key", f"-----BEGIN PRIVATE KEY-----\n{RANDOM}\n{RANDOM}"),  # cut short
]
INSIDE = [
    ("url_password", "postgres://app:hunter2x@db.example.org/main", "hunter2x"),
    ("named_secret", "export API_KEY=a8Fk39dLs02mZq7X1", "a8Fk39dLs02mZq7X1"),
    ("named_secret", '{"client_secret": "q7W-e9R_t1Y.u3I~o5P"}', "q7W-e9R_t1Y.u3I~o5P"),
    ("named_secret", "Authorization: Bearer 9f86d081884c7d659a2feaa0c55ad015", "9f86d081884c7d659a2feaa0c55ad015"),
    ("password", "password: Tr0ub4dor&3", "Tr0ub4dor&3"),
    ("password", "Mot de passe : Vanne-2024!", "Vanne-2024!"),
]
NOT_FOUND = [
    github()[:-1] + ("0" if github()[-1] != "0" else "1"),  # the checksum does not hold
    "AKIAIOSFODNN7EXAMPLE, as in the maker's manual",
    "eyJub3RhIjoiaGVhZGVyIn0.eyJzdWIiOiIxMjM0NTYifQ.c2ln",  # a header without an algorithm
    "https://user:password@example.org and https://user:<password>@example.org",
    "api_key = your-api-key-goes-here-1",
    "token: the smallest piece of text that a model reads",
    "password: ask the manager, then press Enter",
    "Mot de passe : demandez-le au service informatique",
    "The key 1234567890123456 fits the lock; the secret of a good weld is patience.",
    "-----BEGIN PUBLIC KEY-----\nMIIabc\n-----END PUBLIC KEY-----",
    "sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "PASSWORD=${DB_PASSWORD} TOKEN=%TOKEN% SECRET=****************",
    "https://user:pass@host.example, token=eyJhbGciOiJIUzI1NiIsInR5cCI6...",
    "123e4567-e89b-12d3-a456-426614174000, E-104, VG 46, sk-learn",
]


@pytest.mark.parametrize(("kind", "value"), FOUND)
@pytest.mark.parametrize("around", ["{}", "Use {} here.", '"{}"', "a\n{}\nb"])
def test_found(kind: str, value: str, around: str) -> None:
    text = around.format(value)
    (found,) = find_secrets(text)
    assert (found.kind, found.text, text[found.start : found.end]) == (kind, value, value)
    assert value[5:] not in shortened(found)


@pytest.mark.parametrize(("kind", "text", "value"), INSIDE)
def test_only_the_secret_is_taken(kind: str, text: str, value: str) -> None:
    (found,) = find_secrets(text)
    assert (found.kind, found.text) == (kind, value)


@pytest.mark.parametrize("text", NOT_FOUND)
def test_not_found(text: str) -> None:
    assert find_secrets(text) == []


def test_the_checksum_of_a_known_token() -> None:
    assert github_checksum_holds(github())
    assert sum(github_checksum_holds(github()[:-1] + char) for char in BASE62) == 1


def test_entropy_by_its_definition() -> None:
    assert entropy("aaaa") == 0
    assert entropy("abab") == pytest.approx(1)
    assert entropy("abcdefgh") == pytest.approx(3)


def test_every_shape_has_a_name_and_an_anchor_that_it_holds() -> None:
    assert {shape.name for shape in SHAPES} == set(KINDS)
    for _, value in FOUND:
        assert any(anchor in value.lower() for shape in SHAPES for anchor in shape.anchors)


def test_long_texts_take_linear_time() -> None:
    for text in (
        "key " * 50_000,
        "key" + " " * 200_000,
        "://" * 60_000,
        "eyJ" * 60_000,
        "pwd:" * 40_000,
        "a" * 10**6,
    ):
        find_secrets(text)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("The password is Tr0ub4dor&3 for the store.", "Tr0ub4dor&3"),
        ("Le mot de passe du wifi est Soleil2024! et la clé est au bureau.", "Soleil2024!"),
        ("Le mot de passe est : Soleil2024!", "Soleil2024!"),
        ("The password is Case-Sensitive and is changed twice a year.", None),
        ("Le mot de passe est demandé au guichet B12.", None),
    ],
)
def test_a_password_said_in_a_sentence(text: str, secret: str | None) -> None:
    assert [found.text for found in find_secrets(text)] == ([secret] if secret else [])
