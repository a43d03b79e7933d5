"""JSON Web Tokens that slurmrestd takes.

Owns: minting them from the cluster's key, as auth/jwt reads them (HS256; claims `sun`, `iat`, `exp`; slurm's jwt.html).
Refuses to know: who may have one.
"""

import base64
import hashlib
import hmac
import json


def mint(key: bytes, user: str, *, now: int, seconds: int) -> str:
    """A token with which one is `user` until `now + seconds` (Unix times)."""
    head = {"alg": "HS256", "typ": "JWT"}
    claims = {"sun": user, "iat": now, "exp": now + seconds}
    signed = ".".join(_encode(json.dumps(part, separators=(",", ":")).encode()) for part in (head, claims))
    return f"{signed}.{_encode(hmac.digest(key, signed.encode(), hashlib.sha256))}"


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
