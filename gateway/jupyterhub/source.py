"""Reads JupyterHub's SQLite database as values.

Owns the tables and columns (JupyterHub 6.1, `jupyterhub.orm`; 5.x has the same ones of those that are read, and 4.x all
except shares, which were added in 5.0). Does not know what is imported. The file is opened read-only, and JupyterHub
may keep using it.
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
"""Tables that a JupyterHub before 5.0 does not have."""


class UserRow(Struct, frozen=True, kw_only=True):
    """A row of `users`. Times are seconds since the epoch."""

    name: str
    admin: bool
    created: float | None
    last_activity: float | None
    groups: tuple[str, ...]
    roles: tuple[str, ...]


class GroupRow(Struct, frozen=True, kw_only=True):
    """A row of `groups`."""

    name: str
    properties: dict[str, Any]
    roles: tuple[str, ...]


class RoleRow(Struct, frozen=True, kw_only=True):
    """A row of `roles`."""

    name: str
    description: str
    scopes: tuple[str, ...]


class TokenRow(Struct, frozen=True, kw_only=True):
    """A row of `api_tokens`. `hashed` is `algorithm:rounds:salt:hash`. `user` is empty for a token of a service."""

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


class ShareRow(Struct, frozen=True, kw_only=True):
    """A row of `shares`."""

    owner: str
    server: str
    user: str
    group: str
    scopes: tuple[str, ...]
    created: float | None
    expires: float | None


class Database(Struct, frozen=True, kw_only=True):
    """The content of the database.

    `servers`, `running`, `codes` and `auth_states` are counts: named servers, running servers, share codes, and users
    with an encrypted `auth_state`.
    """

    users: tuple[UserRow, ...]
    groups: tuple[GroupRow, ...]
    roles: tuple[RoleRow, ...]
    tokens: tuple[TokenRow, ...]
    shares: tuple[ShareRow, ...]
    services: tuple[str, ...]
    servers: int
    running: int
    codes: int
    auth_states: int


def read(path: Path) -> Database:
    """Read the database at `path`. Raises TowpathError if it is not a database of JupyterHub 4, 5 or 6."""
    if not path.is_file():
        raise TowpathError(f"{path} is not a file. JupyterHub's database is usually named jupyterhub.sqlite.")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            database.row_factory = sqlite3.Row
            _check(path, database)
            return _read(database)
    except sqlite3.Error as error:
        raise TowpathError(f"{path} cannot be read as an SQLite database: {error}.") from error


def _check(path: Path, database: sqlite3.Connection) -> None:
    for table, columns in TABLES.items():
        present = {row["name"] for row in database.execute("SELECT name FROM pragma_table_info(?)", (table,))}
        if not present and table in SINCE_5:
            continue
        if missing := set(columns) - present:
            lacks = f"its table {table} has no {min(missing)}" if present else f"it has no table {table}"
            raise TowpathError(
                f"{path} is not the database of JupyterHub 4, 5 or 6: {lacks}."
                " To import an older one, run `jupyterhub upgrade-db` with JupyterHub 6.1 on a copy."
            )


def _read(database: sqlite3.Connection) -> Database:
    users = {row["id"]: row for row in database.execute("SELECT * FROM users ORDER BY name")}
    groups = {row["id"]: row for row in database.execute("SELECT * FROM groups ORDER BY name")}
    roles = {row["id"]: row for row in database.execute("SELECT * FROM roles ORDER BY name")}
    spawners = {row["id"]: row for row in database.execute("SELECT * FROM spawners")}
    in_groups = _named(database, "user_group_map", "user_id", "group_id", groups)
    user_roles = _named(database, "user_role_map", "user_id", "role_id", roles)
    group_roles = _named(database, "group_role_map", "group_id", "role_id", roles)
    return Database(
        users=tuple(
            UserRow(
                name=row["name"],
                admin=bool(row["admin"]),
                created=_seconds(row["created"]),
                last_activity=_seconds(row["last_activity"]),
                groups=in_groups.get(key, ()),
                roles=user_roles.get(key, ()),
            )
            for key, row in users.items()
        ),
        groups=tuple(
            GroupRow(name=row["name"], properties=_object(row["properties"]), roles=group_roles.get(key, ()))
            for key, row in groups.items()
        ),
        roles=tuple(
            RoleRow(name=row["name"], description=row["description"] or "", scopes=_list(row["scopes"]))
            for row in roles.values()
        ),
        tokens=_tokens(database, users),
        shares=_shares(database, users, spawners, groups),
        services=tuple(row["name"] for row in database.execute("SELECT name FROM services ORDER BY name")),
        servers=sum(1 for row in spawners.values() if row["name"]),
        running=sum(1 for row in spawners.values() if row["server_id"] is not None),
        codes=len(_rows_of(database, "share_codes", "id")),
        auth_states=sum(1 for row in users.values() if row["encrypted_auth_state"]),
    )


def _tokens(database: sqlite3.Connection, users: dict[int, sqlite3.Row]) -> tuple[TokenRow, ...]:
    return tuple(
        TokenRow(
            id=row["id"],
            user=_name_of(users, row["user_id"]),
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
    )


def _shares(
    database: sqlite3.Connection,
    users: dict[int, sqlite3.Row],
    spawners: dict[int, sqlite3.Row],
    groups: dict[int, sqlite3.Row],
) -> tuple[ShareRow, ...]:
    return tuple(
        ShareRow(
            owner=_name_of(users, row["owner_id"]),
            server=_name_of(spawners, row["spawner_id"]),
            user=_name_of(users, row["user_id"]),
            group=_name_of(groups, row["group_id"]),
            scopes=_list(row["scopes"]),
            created=_seconds(row["created_at"]),
            expires=_seconds(row["expires_at"]),
        )
        for row in _rows_of(database, "shares", "rowid")
    )


def _rows_of(database: sqlite3.Connection, table: str, order: str) -> list[sqlite3.Row]:
    """Return the rows of a table, or an empty list if this version of JupyterHub does not have it."""
    exists = database.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)).fetchone()
    return database.execute(f"SELECT * FROM {table} ORDER BY {order}").fetchall() if exists else []  # noqa: S608 - names of our own


def _named(
    database: sqlite3.Connection, table: str, mine: str, other: str, names: dict[int, sqlite3.Row]
) -> dict[int, tuple[str, ...]]:
    """Return, for each id in the column `mine`, the sorted names of the rows that `other` leads to."""
    pairs: dict[int, list[str]] = {}
    for row in database.execute(f"SELECT {mine}, {other} FROM {table}"):  # noqa: S608 - names of our own
        if row[other] in names:
            pairs.setdefault(row[mine], []).append(names[row[other]]["name"])
    return {key: tuple(sorted(found)) for key, found in pairs.items()}


def _name_of(rows: dict[int, sqlite3.Row], key: int | None) -> str:
    return rows[key]["name"] if key in rows else ""


def _seconds(text: str | None) -> float | None:
    """Convert a time as SQLAlchemy writes it, without a zone and in UTC, to seconds since the epoch."""
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
