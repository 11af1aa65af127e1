"""The one exception that says "the peer is at fault"."""

from __future__ import annotations


class RequestError(Exception):
    """The peer's bytes are not a request that we serve.

    Args:
        status: the status code to answer with before closing (RFC 9110 section 15).
        reason: what is wrong, for the log and the answer.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
