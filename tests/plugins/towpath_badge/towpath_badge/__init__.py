"""What another package brings: two ways to sign in (a password, a header that a gate adds), and a hook."""

from msgspec import Struct

from state.plugins.authenticators import AuthenticatorKind
from state.plugins.hooks import HookKind


class BadgeOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[auth.provider.badge]`"""

    register: str
    """A file: for each account a line `NAME PASSWORD GROUP,GROUP`."""
    seconds: float = 1.0


class GateOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[auth.provider.gate]`"""

    header: str = "X-Gate-User"
    secret: str = ""
    secret_file: str = ""


class HookOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[hook.badge_token]`"""

    variable: str = "BADGE_TOKEN"


def check_badge(options, at, say):
    if not options.register.startswith("/"):
        say(f"{at}.register", f"{options.register!r} is not an absolute path.")


KIND = AuthenticatorKind(
    name="badge",
    open="towpath_badge.authenticators:Badge",
    options=BadgeOptions,
    check=check_badge,
    title="Sign in with your badge",
    timeout=2.0,
    refresh=lambda options: options.seconds,
)
GATE = AuthenticatorKind(
    name="gate",
    open="towpath_badge.authenticators:Gate",
    options=GateOptions,
    form="link",
    refresh=lambda options: 0,
    hidden_headers=lambda options: frozenset({options.header, "x-gate-secret"}),
)
HOOK = HookKind(
    name="badge_token",
    run="towpath_badge.hooks:hand_over",
    options=HookOptions,
    events=frozenset({"before-submit", "ended"}),
)
