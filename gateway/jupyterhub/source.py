"""JupyterHub's SQLite database, read as values.

Owns: its tables and columns (JupyterHub 6.1, `jupyterhub.orm`; 5.x has the same of those that are read, and 4.x all
but the shares, which came with 5.0). Refuses to know what becomes of them, and never writes: the file is opened
read-only, and JupyterHub may go on using it.
"""

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from state.errors import TowpathError

TABLES: Final[dict[str, tuple[str, ...]]] = {
    "users": ("id", "name", "admin", "created", "last_activity", "encrypted_auth_state"),
    "groups": ("id", "name", "properties"),
    "user_group_map": ("user_id", "group_id"),
    "roles": ("id", "name", "description", "scopes"),
    "user_role_map": ("user_id", "role_id"),
    "group_role_map": ("group_id", "role_id"),
    "services": ("name",),
    "spawners": ("id", "user_id", "name", "server_id"),
    "api_tokens": (
        *("id", "user_id", "service_id", "hashed", "prefix", "client_id", "session_id"),
        *("created", "expires_at", "last_activity", "note", "scopes"),
    ),
    "shares": ("user_id", "group_id", "owner_id", "spawner_id", "scopes", "expires_at", "created_at"),
    "share_codes": ("id",),
}
SINCE_5: Final = frozenset({"shares", "share_codes"})
"""Tables that an older JupyterHub has no use for."""


class Person(Struct, frozen=True, kw_only=True):
    """A row of `users`. Times are seconds since the epoch."""

    name: str
    admin: bool
    created: float | None
    last_activity: float | None
    groups: tuple[str, ...]
    roles: tuple[str, ...]


class Team(Struct, frozen=True, kw_only=True):
    """A row of `groups`."""

    name: str
    properties: dict[str, Any]
    roles: tuple[str, ...]


class Duty(Struct, frozen=True, kw_only=True):
    """A row of `roles`."""

    name: str
    description: str
    scopes: tuple[str, ...]


class Key(Struct, frozen=True, kw_only=True):
    """A row of `api_tokens`. `hashed` is `algorithm:rounds:salt:hash`; `user` empty: a service's."""

    id: int
    user: str
    hashed: str
    prefix: str
    client: str
    session: str
    note: str
    scopes: tuple[str, ...]
    created: float | None
    expires: float | None
    last_activity: float | None


class Gift(Struct, frozen=True, kw_only=True):
    """A row of `shares`."""

    owner: str
    server: str
    user: str
    group: str
    scopes: tuple[str, ...]
    created: float | None
    expires: float | None


class Found(Struct, frozen=True, kw_only=True):
    """All of it. `running`: servers that JupyterHub has running; `signed`: people with a sealed state of a sign-in."""

    people: tuple[Person, ...]
    teams: tuple[Team, ...]
    duties: tuple[Duty, ...]
    keys: tuple[Key, ...]
    gifts: tuple[Gift, ...]
    services: tuple[str, ...]
    servers: int
    running: int
    codes: int
    signed: int


def read(path: Path) -> Found:
    """The database at `path`. Raises TowpathError where there is none, or another's."""
    if not path.is_file():
        raise TowpathError(f"{path} is not a file. JupyterHub's database is usually called jupyterhub.sqlite.")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            database.row_factory = sqlite3.Row
            _check(path, database)
            return _read(database)
    except sqlite3.Error as error:
        raise TowpathError(f"{path} cannot be read as an SQLite database: {error}.") from error


def _check(path: Path, database: sqlite3.Connection) -> None:
    for table, columns in TABLES.items():
        there = {row["name"] for row in database.execute("SELECT name FROM pragma_table_info(?)", (table,))}
        if not there and table in SINCE_5:
            continue
        if missing := set(columns) - there:
            lacks = f"its table {table} has no {min(missing)}" if there else f"it has no table {table}"
            raise TowpathError(
                f"{path} is not the database of JupyterHub 4, 5 or 6: {lacks}."
                " Run `jupyterhub upgrade-db` with JupyterHub 6.1 on a copy of an older one."
            )


def _read(database: sqlite3.Connection) -> Found:
    users = {row["id"]: row for row in database.execute("SELECT * FROM users ORDER BY name")}
    groups = {row["id"]: row for row in database.execute("SELECT * FROM groups ORDER BY name")}
    roles = {row["id"]: row for row in database.execute("SELECT * FROM roles ORDER BY name")}
    spawners = {row["id"]: row for row in database.execute("SELECT * FROM spawners")}

    def rows_of(table: str, order: str) -> list[sqlite3.Row]:
        """None where it is a table that an older JupyterHub does not have."""
        there = database.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)).fetchone()
        return database.execute(f"SELECT * FROM {table} ORDER BY {order}").fetchall() if there else []  # noqa: S608 - names of our own

    def named(table: str, mine: str, other: str, names: dict[int, sqlite3.Row]) -> dict[int, tuple[str, ...]]:
        pairs: dict[int, list[str]] = {}
        for row in database.execute(f"SELECT {mine}, {other} FROM {table}"):  # noqa: S608 - names of our own
            if row[other] in names:
                pairs.setdefault(row[mine], []).append(names[row[other]]["name"])
        return {key: tuple(sorted(found)) for key, found in pairs.items()}

    def name_of(rows: dict[int, sqlite3.Row], key: int | None) -> str:
        return rows[key]["name"] if key in rows else ""

    in_groups = named("user_group_map", "user_id", "group_id", groups)
    user_roles = named("user_role_map", "user_id", "role_id", roles)
    group_roles = named("group_role_map", "group_id", "role_id", roles)
    return Found(
        people=tuple(
            Person(
                name=row["name"],
                admin=bool(row["admin"]),
                created=_seconds(row["created"]),
                last_activity=_seconds(row["last_activity"]),
                groups=in_groups.get(key, ()),
                roles=user_roles.get(key, ()),
            )
            for key, row in users.items()
        ),
        teams=tuple(
            Team(name=row["name"], properties=_object(row["properties"]), roles=group_roles.get(key, ()))
            for key, row in groups.items()
        ),
        duties=tuple(
            Duty(name=row["name"], description=row["description"] or "", scopes=_list(row["scopes"]))
            for row in roles.values()
        ),
        keys=tuple(
            Key(
                id=row["id"],
                user=name_of(users, row["user_id"]),
                hashed=row["hashed"] or "",
                prefix=row["prefix"] or "",
                client=row["client_id"] or "",
                session=row["session_id"] or "",
                note=row["note"] or "",
                scopes=_list(row["scopes"]),
                created=_seconds(row["created"]),
                expires=_seconds(row["expires_at"]),
                last_activity=_seconds(row["last_activity"]),
            )
            for row in database.execute("SELECT * FROM api_tokens ORDER BY id")
        ),
        gifts=tuple(
            Gift(
                owner=name_of(users, row["owner_id"]),
                server=name_of(spawners, row["spawner_id"]),
                user=name_of(users, row["user_id"]),
                group=name_of(groups, row["group_id"]),
                scopes=_list(row["scopes"]),
                created=_seconds(row["created_at"]),
                expires=_seconds(row["expires_at"]),
            )
            for row in rows_of("shares", "rowid")
        ),
        services=tuple(row["name"] for row in database.execute("SELECT name FROM services ORDER BY name")),
        servers=sum(1 for row in spawners.values() if row["name"]),
        running=sum(1 for row in spawners.values() if row["server_id"] is not None),
        codes=len(rows_of("share_codes", "id")),
        signed=sum(1 for row in users.values() if row["encrypted_auth_state"]),
    )


def _seconds(text: str | None) -> float | None:
    """SQLAlchemy's text of a time without a zone, which is UTC."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _list(text: str | None) -> tuple[str, ...]:
    value = _json(text)
    return tuple(entry for entry in value if isinstance(entry, str)) if isinstance(value, list) else ()


def _object(text: str | None) -> dict[str, Any]:
    value = _json(text)
    return value if isinstance(value, dict) else {}


def _json(text: str | None) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None
