"""The `token` parameter of a request's query, which clients of JupyterHub add to their URLs. Pure.

The gateway has authenticated the caller already. A Jupyter server would read the parameter before the Authorization
header that the gateway sends, take it for the server's own token, and answer 403 (jupyter_server 2.20,
`IdentityProvider.get_token`). It is also a secret of the hub, which no app may see.
"""

from urllib.parse import unquote_to_bytes


def without_token(target: bytes) -> bytes:
    """Return `target` (path and query) without parameters named `token`; all other bytes stay as they are."""
    path, mark, query = target.partition(b"?")
    if not mark or (b"token" not in query and b"%" not in query):
        return target
    parts = query.split(b"&")
    kept = [part for part in parts if unquote_to_bytes(part.partition(b"=")[0]) != b"token"]
    if len(kept) == len(parts):
        return target
    return path + b"?" + b"&".join(kept) if kept else path
