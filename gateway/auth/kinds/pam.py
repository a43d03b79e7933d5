"""The kind `pam`: accounts of the hub's machine, and the table that says how they are checked."""

from typing import Annotated, Final

from msgspec import Meta, Struct

from state.plugins.authenticators import GROUPS_OFF, AuthenticatorKind


class PamConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[auth.provider.pam]`: accounts of the hub's machine, through PAM."""

    service: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=64)] = "login"
    """The service in /etc/pam.d. Its auth and account phases are used."""
    groups: bool = True
    """Whether the account's Unix groups are the user's groups."""
    sudo: bool = False
    """Run the helper with sudo (deploy/sudoers/towpath-pam). Without root, PAM cannot check others' passwords.
    """
    timeout: Annotated[float, Meta(gt=0)] = 30.0
    """Seconds to wait for PAM."""
    min_uid: Annotated[int, Meta(ge=1)] = 1000
    """Accounts with a smaller user id are system accounts and cannot sign in."""
    refresh: Annotated[int, Meta(ge=0)] = 900
    """Seconds between checks of the account of a signed-in user; 0: never. Each check is a process."""


def groups_fault(options: PamConfig) -> tuple[str, str] | None:
    """Return the key that disables groups; None: they are known."""
    return None if options.groups else ("groups", GROUPS_OFF)


KIND: Final = AuthenticatorKind(
    name="pam",
    proof="gateway.auth.pam:open_pam",
    options=PamConfig,
    title="Sign in with your account",
    refresh=lambda options: options.refresh,
    groups_fault=groups_fault,
    probe="gateway.auth.pam_probe:probe",
)
