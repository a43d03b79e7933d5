"""The command line: `python -I -S starter.py < SPEC`, or `python -I -S starter.py SPEC_FILE` (0600).

The specification is JSON, which `batch.contract.starter_spec` writes. So no secret is in an argv.
"""

import os
import sys

from batch.starter.command import settle
from batch.starter.errors import StartError
from batch.starter.files import read_all, read_private
from batch.starter.json_text import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Sequence


def run(spec: "dict[str, Any]") -> int:
    """Run the starter; return the job's exit code."""
    from batch.starter.starter import Starter

    return Starter(spec).run()


def main(argv: "Sequence[str]", runner: "Callable[[dict[str, Any]], int]" = run) -> int:
    """Run a job; return its exit code."""
    try:
        text = read_private(argv[1]) if len(argv) > 1 else read_all(0)
        spec = settle(loads(text.decode("utf-8")), os.environ)
    except StartError as error:
        sys.stderr.write("%s\n" % error)
        return 2
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    if null > 2:
        os.close(null)
    if spec.get("lock_fd"):
        os.set_inheritable(spec["lock_fd"], False)  # held as long as this process lives, and not inherited by the app
    if spec.get("guard"):
        from batch.starter.guard import watch

        return watch(spec, runner)
    return runner(spec)
