"""Checks `[[role]]` and `[[service]]`.

Owns the checks across the two, and of scopes. Does not know files: `state.settings.loader` reads and checks the tokens
of services.
"""

import re
from collections.abc import Callable
from typing import Final

from state.config.service_rules import is_redirect
from state.config.tables import Config, RoleConfig, ServiceConfig
from state.errors import NameRuleError
from state.names import group_name, user_name
from state.rights import scopes
from state.rights.roles import BUILT_IN, FIXED

Say = Callable[[str, str], None]

SERVICE_URL: Final = re.compile(r"http://[^/?#@]+/?|http\+unix://%2[Ff][^/?#@]+/?")
SELF_SERVING: Final = frozenset({"self", "inherit"})


def check(config: Config, say: Say) -> None:
    """Report all errors in the two tables."""
    services = {service.name for service in config.service}
    for table, names in (("role", [r.name for r in config.role]), ("service", [s.name for s in config.service])):
        for name in sorted({name for name in names if names.count(name) > 1}):
            say(table, f"the name {name!r} is used twice.")
    for number, role in enumerate(config.role, 1):
        _role(role, services, f"role[{number}]", say)
    for number, service in enumerate(config.service, 1):
        _service(service, f"service[{number}]", say)


def _role(role: RoleConfig, services: set[str], path: str, say: Say) -> None:
    if role.name in FIXED:
        say(f"{path}.name", f"the role {role.name} is built in and cannot be changed. Set admins in [auth].")
    if role.name not in BUILT_IN and not role.scopes:
        say(f"{path}.scopes", "a role without scopes has no effect. Add scopes.")
    _scopes(role.scopes, f"{path}.scopes", say, of_server=role.name == "server")
    if "inherit" in role.scopes and role.name != "server":
        say(f"{path}.scopes", "inherit is for tokens. Remove it: a role has no owner to inherit from.")
    _members(role, path, say)
    for service in role.services:
        if service not in services:
            say(f"{path}.services", f"no [[service]] is named {service!r}.")


def _members(role: RoleConfig, path: str, say: Say) -> None:
    for user in role.users:
        try:
            normal = user_name(user)
        except NameRuleError as error:
            say(f"{path}.users", f"{user!r} cannot be a user: {error}")
        else:
            if normal != user:
                say(f"{path}.users", f"write {normal!r} instead of {user!r}, which is the normal form of the name.")
    for group in role.groups:
        try:
            group_name(group)
        except NameRuleError as error:
            say(f"{path}.groups", f"{group!r} cannot be a group: {error}")


def _service(service: ServiceConfig, path: str, say: Say) -> None:
    if service.url and not SERVICE_URL.fullmatch(service.url):
        say(
            f"{path}.url",
            f"{service.url!r} must be http://host:port (without a path) or http+unix://%2Fpath%2Fto.sock.",
        )
    _scopes(service.scopes, f"{path}.scopes", say)
    _scopes(service.oauth_scopes, f"{path}.oauth_scopes", say)
    for scope in sorted(SELF_SERVING & set(service.scopes)):
        say(f"{path}.scopes", f"{scope} is for users and their tokens. Set the scopes of the service itself.")
    if not service.api_token_file and (service.admin or service.scopes or service.oauth_redirect_uris):
        say(f"{path}.api_token_file", "without a token, the service cannot authenticate. Set this key.")
    for uri in service.oauth_redirect_uris:
        if not is_redirect(uri):
            say(f"{path}.oauth_redirect_uris", f"{uri!r} must be a URL without a fragment, or a path of this hub.")


def _scopes(written: tuple[str, ...], path: str, say: Say, *, of_server: bool = False) -> None:
    for scope in written:
        if not scopes.known(scope):
            say(path, f"{scope!r} is not a scope. docs/api.md lists them.")
        elif scope.endswith("!server") and not of_server:
            say(path, f"{scope!r} works only in the role server. Name a server instead: !server=user/name.")
