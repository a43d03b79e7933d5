"""The folders of a user's earlier jobs: removed when they are old, or when there are many.

Each holds the log of a server, which may be wanted for a while. A running job touches its folder every so often, so a
folder that was not touched belongs to no running job, wherever that may run.
"""

import os
import stat
import time

KEEP_SECONDS = 7 * 86400.0
KEEP_MOST = 50
TOUCH_SECONDS = 1800.0
SURELY_OVER = 6 * 3600.0
"""Seconds without a touch. File servers' clocks may be wrong, and a node may have been suspended."""
MOST_AT_ONCE = 200
NAME_LENGTH = 32
HEX = frozenset("0123456789abcdef")


def is_attempt(name: str) -> bool:
    """Whether a name is an attempt's."""
    return len(name) == NAME_LENGTH and HEX.issuperset(name)


def touch(folder: str) -> None:
    """Show that the job runs."""
    try:
        os.utime(folder)
    except OSError:
        pass


def prune(folder: str, now: "float | None" = None) -> None:
    """Remove the old ones beside this folder. Nothing else in the folder above is touched."""
    above, ours = os.path.split(folder)
    now = time.time() if now is None else now
    found = []
    try:
        names = os.listdir(above)
    except OSError:
        return
    for name in names:
        if name != ours and is_attempt(name):
            try:
                facts = os.lstat(os.path.join(above, name))
            except OSError:
                continue
            if stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.geteuid():
                found.append((facts.st_mtime, name))
    found.sort(reverse=True)
    old = [
        (touched, name) for at, (touched, name) in enumerate(found) if at >= KEEP_MOST or now - touched > KEEP_SECONDS
    ]
    for touched, name in old[:MOST_AT_ONCE]:
        if now - touched > SURELY_OVER:
            remove_folder(os.path.join(above, name))


def remove_folder(folder: str) -> None:
    """Remove a job's folder with its files. One that holds folders, or is not ours to remove, stays."""
    try:
        for name in os.listdir(folder):
            if not stat.S_ISDIR(os.lstat(os.path.join(folder, name)).st_mode):
                os.unlink(os.path.join(folder, name))
        os.rmdir(folder)
    except OSError:
        pass
