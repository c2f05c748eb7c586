"""The refusal that a caller of the gateway, or a person who signs in, is told of."""


class AccessRefused(Exception):
    """Who asks may not, or not now.

    status: of HTTP (401, 403, 429, 503). code: for programs. message: a sentence for a person, which never quotes a
    secret. retry_after: seconds, from 1 up, after which it may work; None where waiting does not help.
    """

    def __init__(self, status: int, code: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after
