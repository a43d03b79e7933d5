"""The hub's own certificate authority, the seal of job records, and joining.

Importing it takes about 80 ms (`cryptography`), which a controller without clusters on other machines does not need.
"""

from batch.authority.authority import (
    JOB_LIFE,
    Authority,
    AuthorityError,
    ensure,
    ensure_authority,
    ensure_gateway,
    gateway_folder,
    has_authority,
)
from batch.authority.seal import seal, seal_key, unseal
from state.sealing.box import SealError

__all__ = [
    "JOB_LIFE",
    "Authority",
    "AuthorityError",
    "SealError",
    "ensure",
    "ensure_authority",
    "ensure_gateway",
    "gateway_folder",
    "has_authority",
    "seal",
    "seal_key",
    "unseal",
]
