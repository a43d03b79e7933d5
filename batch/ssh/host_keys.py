"""The trusted host keys, read from files and read again when those change.

A key that is not in them is never accepted, and never added: there is no trust on first use.
"""

from collections.abc import Sequence
from pathlib import Path

from batch.ssh.errors import CredentialsError
from batch.ssh.keys import KnownHosts


class HostKeyFiles:
    """Known hosts in OpenSSH's format: plain and hashed names, patterns, `@cert-authority`, `@revoked`."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = tuple(paths)
        self._marks: tuple[object, ...] = ()
        self._known: KnownHosts | None = None

    def read(self) -> KnownHosts:
        """Return the current contents of the files. Raises CredentialsError for a file that cannot be read."""
        try:
            marks = tuple((facts.st_mtime_ns, facts.st_size, facts.st_ino) for facts in map(Path.stat, self._paths))
            if self._known is None or marks != self._marks:
                self._known = KnownHosts([path.read_text() for path in self._paths])
                self._marks = marks
        except (OSError, ValueError) as error:
            files = ", ".join(map(str, self._paths))
            raise CredentialsError(f"The known hosts in {files} cannot be read: {error}.", transient=True) from error
        return self._known
