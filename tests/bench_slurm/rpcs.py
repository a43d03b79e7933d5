"""The messages to slurmctld by type, from the output of sdiag(1). Pure.

Owns parsing the output, and which messages are caused by clients. Does not run sdiag.
"""

import re
from collections import Counter

from tests.bench.process import BenchError

Calls = Counter[str]
HEADING = "Remote Procedure Call statistics by message type"
LINE = re.compile(r"\s+([A-Z][A-Z0-9_]*)\s*\(\s*\d+\) count:(\d+)\s")
DAEMONS = frozenset({
    "MESSAGE_NODE_REGISTRATION_STATUS", "MESSAGE_EPILOG_COMPLETE", "REQUEST_COMPLETE_BATCH_SCRIPT",
    "REQUEST_COMPLETE_PROLOG", "REQUEST_STEP_COMPLETE", "ACCOUNTING_UPDATE_MSG", "ACCOUNTING_REGISTER_CTLD",
})  # fmt: skip
"""Messages that slurmd, slurmstepd and slurmdbd send by themselves once per job, for any hub."""
OURS = frozenset({"REQUEST_STATS_INFO"})
"""The messages of the benchmark's own sdiag."""


def calls(text: str) -> Calls:
    """Return message type -> count since slurmctld started. Raises BenchError if the text is not from sdiag."""
    _, found, after = text.partition(HEADING)
    if not found:
        raise BenchError(f"unexpected output of sdiag: {text[:300]!r}")
    by_type, _, _ = after.partition("\n\n")
    return Counter({name: int(count) for name, count in LINE.findall(by_type)})


def between(before: Calls, after: Calls) -> Calls:
    """Return the clients' messages in between. Raises BenchError if the counts were reset (slurmctld does at midnight)."""
    if any(after[name] < count for name, count in before.items()):
        raise BenchError("sdiag's counts were reset during the measurement.")
    return Counter({name: count for name, count in (after - before).items() if name not in DAEMONS | OURS})
