"""What slurmctld was asked, by kind of message, from the words of sdiag(1). Pure.

Owns: reading them, and which of them clients cause. Refuses to know who runs sdiag.
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
"""What slurmd, slurmstepd and slurmdbd say of their own accord, once per job: the same whoever asked for the job."""
OURS = frozenset({"REQUEST_STATS_INFO"})
"""The benchmark's own sdiag."""


def calls(text: str) -> Calls:
    """Message type -> how often it came since slurmctld started. Raises BenchError where it is not sdiag's words."""
    _, found, after = text.partition(HEADING)
    if not found:
        raise BenchError(f"sdiag said something else: {text[:300]!r}")
    by_type, _, _ = after.partition("\n\n")
    return Counter({name: int(count) for name, count in LINE.findall(by_type)})


def between(before: Calls, after: Calls) -> Calls:
    """What clients asked in between. Raises BenchError when the counts were set back (slurmctld does at midnight)."""
    if any(after[name] < count for name, count in before.items()):
        raise BenchError("sdiag's counts were set back during the measurement.")
    return Counter({name: count for name, count in (after - before).items() if name not in DAEMONS | OURS})
