"""Checks `[[hook]]`, and `auth_state` for hooks. A kind checks its own options. Pure."""

from state.config.service_rules import SECRET_LEAST, is_secret
from state.config.tables import Config, HookConfig
from state.plugins import hooks
from state.plugins.entry_points import PluginError
from state.plugins.options import Say, has_required


def check(config: Config, say: Say) -> None:
    """Report all errors in [[hook]] and in what it needs of [auth]."""
    for number, hook in enumerate(config.hook, 1):
        _hook(hook, f"hook[{number}]", say)
    auth = config.auth
    keys = [f"hook[{number}].auth_state" for number, hook in enumerate(config.hook, 1) if hook.auth_state]
    providers = () if auth is None else auth.provider
    keys += [f"auth.provider[{number}].auth_state" for number, one in enumerate(providers, 1) if one.auth_state]
    if auth is not None and auth.auth_state_key and not is_secret(auth.auth_state_key):
        say("auth.auth_state_key", f"this needs {SECRET_LEAST} or more characters. Use `openssl rand -hex 32`.")
    if auth is None or not (auth.auth_state_key or auth.auth_state_key_file):
        for key in keys:
            say(key, "the auth state is kept encrypted only. Set auth_state_key_file in [auth].")


def _hook(hook: HookConfig, path: str, say: Say) -> None:
    try:
        kind = hooks.find_kind(hook.kind)
    except PluginError as error:
        say(f"{path}.kind", str(error))
        return
    if kind is None:
        say(f"{path}.kind", f"{hook.kind!r} is not a kind of hook. Use one of: {', '.join(hooks.kind_names())}.")
        return
    for event in hook.events:
        if event not in hooks.EVENTS:
            say(f"{path}.events", f"{event!r} is not an event. Use one of: {', '.join(hooks.EVENTS)}.")
    if hook.options is not None or not has_required(kind.options):  # else the fault has been reported
        kind.check(hooks.options_of(hook), f"{path}.{hook.kind}", say)
