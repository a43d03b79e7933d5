"""Apps that know no base path: the server's prefix is taken off the path on the way in, and put back on the way out.

Owns: the two rewrites, as pure functions. Refuses to know which apps want it (`profile.strip_prefix`).

The cut is made at a number of slashes, not at a text: the name in the path may be written in several ways (`%61lice`),
and what decided whose server it is has read the same segments. What follows stays byte for byte.
"""

from typing import Final

from gateway.tunnel.headers import Fields

HEADER: Final = b"X-Forwarded-Prefix"
_PATHS: Final = (b"location", b"content-location", b"service-worker-allowed")


def stripped(target: bytes, slashes: int) -> bytes:
    """`target` (path and query) from the prefix's last slash on; `slashes`: how many the prefix has, the last too."""
    at = -1
    for _ in range(slashes):
        at = target.find(b"/", at + 1)
        if at < 0:
            return b"/"
    return target[at:]


def restored(fields: Fields, prefix: bytes) -> list[tuple[bytes, bytes]]:
    """A response's fields, whose absolute paths lie under `prefix` again."""
    return [
        (name, prefix + value[1:])
        if name.lower() in _PATHS and value.startswith(b"/") and not value.startswith((b"//", prefix))
        else (name, value)
        for name, value in fields
    ]
