"""Secrets as they are kept: argon2id, a few at a time and never on the event loop's thread."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

AT_ONCE = 2  # hashes computed together: more only take memory and the processors from answers

# RFC 9106, section 4, second choice (64 MiB): what a person can remember must be slow to guess.
PASSWORDS = PasswordHasher(time_cost=3, memory_cost=65536, parallelism=4)
# OWASP's lowest (19 MiB): a key has 256 random bits, which nobody guesses at any speed.
KEYS = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)


def matches(hasher: PasswordHasher, kept: str, secret: str) -> bool:
    """Whether `secret` is the one that `kept` was made of. Takes 0.03 s (keys) to 0.2 s (passwords)."""
    try:
        return hasher.verify(kept, secret.encode("utf-8", "surrogatepass"))
    except (VerificationError, InvalidHashError):
        return False


class HashingThreads:
    """Checks secrets beside the event loop, at most AT_ONCE together; the others wait their turn."""

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="limpide-argon2")

    async def matches(self, hasher: PasswordHasher, kept: str, secret: str) -> bool:
        return await asyncio.get_running_loop().run_in_executor(self.threads, matches, hasher, kept, secret)

    def close(self) -> None:
        self.threads.shutdown(cancel_futures=True)
