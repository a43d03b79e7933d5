"""The Unix account of this process, also where it has none: a container's uid without a passwd entry.

Imports nothing slow, because the command line uses it.
"""

import getpass
import os


def account_name() -> str:
    """Return the name of the account (LOGNAME and USER first, as getpass.getuser), else `uid-` and the user id."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # Python 3.13 raises OSError in place of KeyError
        return f"uid-{os.geteuid()}"
