"""How many of something there may be: in all, and for each client."""

from collections import Counter


class Quota:
    """`take` before something is opened, and `free` once when it is over."""

    __slots__ = ("_by_client", "_most", "_per_client", "_total")

    def __init__(self, *, most: int, per_client: int) -> None:
        self._most = most
        self._per_client = per_client
        self._total = 0
        self._by_client: Counter[str] = Counter()

    def take(self, client: str) -> bool:
        """Count one more, if there may be one."""
        if self._total >= self._most or self._by_client[client] >= self._per_client:
            return False
        self._total += 1
        self._by_client[client] += 1
        return True

    def free(self, client: str) -> None:
        """Count one less."""
        self._total -= 1
        self._by_client[client] -= 1
        if self._by_client[client] <= 0:
            del self._by_client[client]
