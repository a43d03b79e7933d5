"""The one door to Redis: connections, scripts, and the translation of redis-py's errors.

Owns: redis-py. Refuses to know keys, records and what a script means.
"""

from typing import Any


class Redis:
    """A connection pool to one Redis, Valkey or Redis Cluster."""

    @classmethod
    async def open(cls, url: str) -> "Redis":
        """Connect and ping. Raises StateUnavailableError."""
        raise NotImplementedError

    async def close(self) -> None:
        """Close every connection."""
        raise NotImplementedError

    async def call(self, *command: Any) -> Any:
        """One command. Raises StateUnavailableError."""
        raise NotImplementedError
