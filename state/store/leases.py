"""Leases with fencing tokens: which controller is the leader.

Key layout: docs/state.md, tag `{lease:NAME}`. Each taking raises the fencing token; every write of a leader carries
it, and a store refuses an older one. Refuses to know what the leader does.
"""

from state.redis import Redis


class Leases:
    """The leases. All verbs raise StateUnavailableError when Redis cannot serve."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def take(self, name: str, holder: str, *, seconds: float) -> int | None:
        """The fencing token (>= 1) when the lease was free or was this holder's; None when another holds it.

        A holder that takes it again gets a higher token: its earlier process is fenced off.
        """
        raise NotImplementedError

    async def renew(self, name: str, holder: str, fence: int, *, seconds: float) -> bool:
        """Prolong; False when the lease is no longer this holder's with this token."""
        raise NotImplementedError

    async def release(self, name: str, holder: str, fence: int) -> bool:
        """Give it back at once; False when it was not this holder's with this token."""
        raise NotImplementedError
