"""JupyterHub's JSON shapes of users, servers and tokens, made from our records.

Pure. Owns the source of each field, and the scope that shows it. Does not know about requests.
Source: JupyterHub 6.1 REST API (docs/api.md says where we differ).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from portal.rights.access import Sees
from portal.site.times import iso
from state.names import escape, server_key, server_path
from state.records.models import Group, Reason, Server, Service, Status, Target, Token, User
from state.records.readiness import is_ready

SHOWN: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("read:users:name", ("user_info", "admin")),
    ("read:users:groups", ("groups",)),
    ("read:users:activity", ("last_activity",)),
    ("read:roles:users", ("roles", "admin")),
)
"""The fields of a user that each narrower scope shows; `read:users` shows all except servers."""


def never_started(user: User) -> Server:
    """Return a default server that was never started: it has no record, but JupyterHub's clients expect it."""
    return Server(
        user=user.name,
        name="",
        target=Target.STOPPED,
        status=Status.STOPPED,
        attempt="",
        profile="",
        cluster="",
        requested=user.created,
    )


def pending(server: Server) -> str | None:
    """Return JupyterHub's `pending` of a changing server: `spawn`, `stop` (also before its removal), or None."""
    if not server.active:
        return "stop" if server.removing else None
    if server.target is Target.STOPPED or server.status is Status.STOPPING:
        return "stop"
    return None if server.status is Status.READY else "spawn"


def progress_path(base_path: str, server: Server) -> str:
    """Return the path of a server's progress events."""
    user = f"{base_path}hub/api/users/{escape(server.user)}"
    return f"{user}/servers/{escape(server.name)}/progress" if server.name else f"{user}/server/progress"


def server_model(
    server: Server, *, base_path: str, public_url: str, last_activity: float | None, with_state: bool
) -> dict[str, Any]:
    """Return the model of a server. Fields from `status` on are Towpath's own; `state` needs `admin:server_state`."""
    url = server_path(base_path, server.user, server.name)
    progress = progress_path(base_path, server)
    reason = server.reason
    model: dict[str, Any] = {
        "name": server.name,
        "display_name": server.display_name or server.name,
        "full_name": server_key(server.user, server.name),
        "last_activity": iso(last_activity),
        "started": iso(server.requested) if server.active else None,
        "pending": pending(server),
        "ready": is_ready(server),
        "stopped": not server.active,
        "url": url,
        "user_options": {"profile": server.profile, **server.choices} if server.profile else {},
        "progress_url": progress,
        "full_url": public_url + url if public_url else None,
        "full_progress_url": public_url + progress if public_url else None,
        "status": server.status,
        "target": server.target,
        "profile": server.profile,
        "cluster": server.cluster,
        "reason": None if reason is None else reason_model(reason),
        **facts_model(server),
    }
    if with_state:
        job = server.job
        model["state"] = {
            "attempt": server.attempt,
            "cluster": server.cluster,
            "job": None if job is None else {"cluster": job.cluster, "native_id": job.native_id},
        }
    return model


def reason_model(reason: Reason) -> dict[str, Any]:
    """Return the model of the reason for a server's end."""
    return {
        "code": reason.code,
        "message": reason.message,
        "hint": reason.hint,
        "log_tail": reason.log_tail,
        "exit_code": reason.exit_code,
        "field": reason.field,
    }


def facts_model(server: Server) -> dict[str, Any]:
    """Return the state of an active server on its cluster: why it waits, its node and its deadline."""
    waiting = server.waiting if server.status in (Status.REQUESTED, Status.QUEUED) else None
    return {
        "waiting": None
        if waiting is None
        else {
            "code": waiting.code,
            "message": waiting.message,
            "hint": waiting.hint,
            "start": iso(waiting.start),
            "position": waiting.position,
            "of": waiting.of,
        },
        "stale": server.stale and server.active,
        "suspended": server.suspended and server.active,
        "editing": server.edited is not None,
        "node": server.node,
        "job_id": server.job.native_id if server.job else "",
        "deadline": iso(server.deadline) if server.active else None,
    }


def user_model(
    user: User, servers: Sequence[Server], sees: Sees, *, roles: Sequence[str], base_path: str
) -> dict[str, Any]:
    """Return the model of a user without servers, with the fields that the caller may see, always `kind` and `name`.

    `sees(scope, user, server name or None)` answers for the caller. `roles`: the user's, by name.
    """
    model: dict[str, Any] = {"kind": "user", "name": user.name}
    if sees("read:users", user, None):
        default = next((server for server in servers if server.name == ""), None) if servers else None
        model = {
            "kind": "user",
            "name": user.name,
            "admin": user.admin,
            "roles": roles,
            "groups": user.groups,
            "server": server_path(base_path, user.name, "") if default and is_ready(default) else None,
            "pending": pending(default) if default else None,
            "created": iso(user.created),
            "last_activity": iso(user.last_activity),
            "user_info": {},
            "auth_state": None,
        }
    else:
        every = {
            "admin": user.admin,
            "roles": roles,
            "groups": user.groups,
            "last_activity": iso(user.last_activity),
            "user_info": {},
        }
        for scope, fields in SHOWN:
            if sees(scope, user, None):
                model.update({field: every[field] for field in fields})
    return model


def listed_servers(user: User, servers: Sequence[Server], *, include_stopped: bool) -> list[Server]:
    """Return the servers of a user that JupyterHub lists: the active ones, or also the stopped ones."""
    if include_stopped and not any(server.name == "" for server in servers):
        servers = [never_started(user), *servers]
    return [server for server in servers if server.active or include_stopped]


def service_model(service: Service, roles: Sequence[str], may: Callable[[str], bool], prefix: str) -> dict[str, Any]:
    """Return the model of a service with the fields that the caller may see; empty if it may see none.

    `may(scope)` answers for the caller and this service. `prefix`: the path at which it is reached.
    """
    named: dict[str, Any] = {"kind": "service", "name": service.name}
    model: dict[str, Any] = {}
    if may("read:services"):
        model |= {
            **named,
            "admin": service.admin,
            "url": service.url,
            "prefix": prefix if service.url else "",
            "command": [],
            "pid": 0,
            "info": service.info,
            "display": service.display,
        }
    if may("read:services:name"):
        model |= {**named, "admin": service.admin}
    if may("read:roles:services"):
        model |= {**named, "admin": service.admin, "roles": list(roles)}
    return model


def group_model(
    group: Group, members: Sequence[str], roles: Sequence[str], may: Callable[[str], bool]
) -> dict[str, Any]:
    """Return the model of a group with the fields that the caller may see (`may(scope)`); empty if it may see none."""
    named: dict[str, Any] = {"kind": "group", "name": group.name}
    model: dict[str, Any] = {}
    if may("read:groups"):
        model |= {**named, "users": list(members), "properties": group.properties}
    if may("read:groups:name"):
        model |= named
    if may("read:roles:groups"):
        model |= {**named, "roles": list(roles)}
    return model


def token_model(token: Token, held: Iterable[str]) -> dict[str, Any]:
    """Return the model of a token, without its secret, which is not stored. `held`: its effective scopes."""
    return {
        **({"user": token.user} if token.user else {"service": token.service}),
        "id": token.id,
        "kind": "api_token",
        "roles": [],
        "scopes": sorted(held),
        "created": iso(token.created),
        "last_activity": iso(token.last_activity),
        "expires_at": iso(token.expires),
        "note": token.note,
        "session_id": token.session_id or None,
        "oauth_client": token.client or "JupyterHub",
    }
