"""The response heads that one app has sent lately, parsed: apps repeat theirs to the byte."""

from typing import Final

from gateway.tunnel.answers import AnswerHead, Rules, read_head

_HEADS: Final = 64
_HEAD_MAX: Final = 4096


class HeadCache:
    """Parses heads by `rules`, which say which fields cross. Look into `heads` before you `read`."""

    __slots__ = ("_rules", "heads")

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.heads: dict[bytes, AnswerHead] = {}

    def read(self, raw: bytes) -> AnswerHead:
        """Parse a head that is not in `heads`. It ends with its first blank line. Raises UpstreamError."""
        head = read_head(raw, self._rules)
        if len(raw) <= _HEAD_MAX:
            if len(self.heads) >= _HEADS:
                self.heads.clear()
            self.heads[raw] = head
        return head
