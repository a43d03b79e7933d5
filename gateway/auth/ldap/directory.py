"""A directory: tries its servers in order, finds a user, checks a password, and finds the user's groups.

Owns the sequence of requests on one connection. Does not know about pages, or what follows from the result.

    with a search   bind as the hub → exactly one entry → bind as that entry → bind as the hub → groups
    with a template                   bind with the template's name → the entry → groups, all as that user
    with user@domain                  the same, and the password is also checked against the entry that was found
"""

import asyncio
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, TypeVar

from gateway.auth.kinds.ldap import LdapConfig
from gateway.auth.ldap.client import Connection, Entry, LdapError, ServerAddress, TooManyError, server_address
from gateway.auth.ldap.dn import escaped
from gateway.auth.ldap.filters import either, filled, parsed, placeholders
from gateway.auth.ldap.groups import MOST, names_of, walk

log = logging.getLogger("towpath.ldap")

T = TypeVar("T")
ASIDE_SECONDS: Final = 30.0
"""Seconds for which a server that did not answer is tried last."""
AT_ONCE: Final = 50
"""Number of groups in one search."""


class DirectoryUser(NamedTuple):
    """A user in the directory. `name`: the value of the configured attribute."""

    dn: str
    name: str
    groups: tuple[str, ...] | None


class UnreachableError(Exception):
    """No server gave a usable answer. `tried`: one of them may have received the password."""

    def __init__(self, message: str, *, tried: bool) -> None:
        super().__init__(message)
        self.tried = tried


class Directory:
    """The servers of one directory. Raises LdapError and ValueError if the configuration is invalid."""

    def __init__(self, config: LdapConfig, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._servers = [server_address(url, plain=config.tls == "none") for url in config.servers]
        self._aside: dict[ServerAddress, float] = {}
        self._user_filter = parsed(config.user_filter)
        self._group_filter = parsed(config.group_filter)
        self._tls = ssl.create_default_context(cafile=config.ca_file or None)
        if config.tls == "unverified":
            self._tls.check_hostname = False
            self._tls.verify_mode = ssl.CERT_NONE

    async def sign_in(self, name: str, password: str) -> DirectoryUser | None:
        """Return the user with this name and password, or None. Raises UnreachableError."""
        if not password:
            return None
        tried = False

        async def ask(directory: Connection) -> DirectoryUser | None:
            nonlocal tried
            bind_name = await self._bind_name(directory, name)
            if bind_name is None:
                return None
            tried = True
            if not await directory.bind(bind_name, password):
                return None
            if not self._config.user_dn:
                await self._bind_as_hub(directory)
            entries = await self._entries(directory, bind_name, name)
            if len(entries) != 1:
                raise LdapError("The password is correct, but the user's entry cannot be read.")
            # A name such as {name}@ad.example.edu may belong to another entry than the one that the search finds.
            if self._by_principal and not await directory.bind(entries[0].dn, password):
                return None
            return await self._found(directory, entries[0], name)

        try:
            return await self._first(ask)
        except LdapError as error:
            raise UnreachableError(str(error), tried=tried) from error

    @property
    def _by_principal(self) -> bool:
        """Whether users bind with a name that is not an entry's, as in Active Directory (`user@domain`)."""
        return bool(self._config.user_dn) and "=" not in self._config.user_dn

    @property
    def asks(self) -> bool:
        """Whether the hub itself can look up users, without their passwords."""
        return bool(self._config.bind_dn or not self._config.user_dn)

    async def look_up(self, typed: str) -> DirectoryUser | None:
        """Return the user who has signed in with this name, or None if there is none now. Raises UnreachableError."""

        async def ask(directory: Connection) -> DirectoryUser | None:
            bind_name = await self._bind_name(directory, typed)
            if bind_name is None:
                return None
            await self._bind_as_hub(directory)
            entries = await self._entries(directory, bind_name, typed)
            return await self._found(directory, entries[0], typed) if len(entries) == 1 else None

        try:
            return await self._first(ask)
        except LdapError as error:
            raise UnreachableError(str(error), tried=False) from error

    async def probe(self) -> list[tuple[str, str]]:
        """Return the URL of each server, and what is wrong with it or `""`."""
        config = self._config
        bases = [config.user_base, config.group_base if config.groups != "none" else ""] if self.asks else []
        results = []
        for url, server in zip(self._config.servers, self._servers, strict=True):
            try:
                async with asyncio.timeout(self._config.timeout), await Connection.open(server, self._tls) as directory:
                    await self._bind_as_hub(directory)
                    for base in filter(None, bases):
                        if not await directory.search(base, parsed("(objectClass=*)"), (), most=1, below=False):
                            raise LdapError(f"there is no entry {base}, or the hub may not read it.")
            except (LdapError, TimeoutError) as error:
                results.append((url, str(error) or f"no answer within {self._config.timeout:g} s"))
            else:
                results.append((url, ""))
        return results

    async def _first(self, ask: Callable[[Connection], Awaitable[T]]) -> T:
        """Return the answer of the first server that gives one. Raises the LdapError of the last server."""
        now = self._clock()
        order = sorted(self._servers, key=lambda server: self._aside.get(server, 0.0) > now)
        failed = LdapError("There is no server.")
        for server in order:
            try:
                async with asyncio.timeout(self._config.timeout), await Connection.open(server, self._tls) as directory:
                    answer = await ask(directory)
            except (LdapError, TimeoutError) as error:
                failed = error if isinstance(error, LdapError) else LdapError(f"{server.host} took too long.")
                log.warning("A directory server failed: host=%s error=%s", server.host, failed)
                self._aside[server] = self._clock() + ASIDE_SECONDS
            else:
                self._aside.pop(server, None)
                return answer
        raise failed

    async def _bind_as_hub(self, directory: Connection) -> None:
        config = self._config
        if config.bind_dn and not await directory.bind(config.bind_dn, config.bind_password):
            raise LdapError(f"The directory rejects the hub's own name and password ({config.bind_dn}).")

    async def _bind_name(self, directory: Connection, name: str) -> str | None:
        """Return the name to bind as, or None if not exactly one entry matches."""
        config = self._config
        if config.user_dn:
            return config.user_dn.replace("{name}", escaped(name) if "=" in config.user_dn else name)
        await self._bind_as_hub(directory)
        entries = await self._matching(directory, name)
        return entries[0].dn if len(entries) == 1 else None

    async def _matching(self, directory: Connection, name: str) -> list[Entry]:
        config = self._config
        what = filled(self._user_filter, {"name": name})
        try:
            entries = await directory.search(config.user_base, what, self._user_attributes(), most=2)
        except TooManyError:
            entries = []
        if len(entries) != 1:
            log.info("Not exactly one directory entry matches a typed name: found=%s", "several" if entries else "none")
        return entries

    def _user_attributes(self) -> list[str]:
        return [attribute for attribute in (self._config.name_attribute, "memberOf") if attribute]

    async def _entries(self, directory: Connection, bind_name: str, name: str) -> list[Entry]:
        """Return the entry that was bound as `bind_name`; empty if it cannot be read."""
        if self._by_principal:
            return await self._matching(directory, name)
        return await directory.search(
            bind_name, parsed("(objectClass=*)"), self._user_attributes(), most=1, below=False
        )

    async def _found(self, directory: Connection, entry: Entry, typed: str) -> DirectoryUser | None:
        config = self._config
        names = entry.get(config.name_attribute) if config.name_attribute else [typed]
        if len(names) != 1:
            log.warning(
                "A directory entry does not have exactly one name: entry=%.200r attribute=%s values=%d",
                entry.dn,
                config.name_attribute,
                len(names),
            )
            return None
        groups: tuple[str, ...] | None = None
        if config.groups != "none":
            groups = names_of(await self._groups(directory, entry, names[0]), config.group_name)
        return DirectoryUser(entry.dn, names[0], groups)

    async def _groups(self, directory: Connection, entry: Entry, name: str) -> list[Entry]:
        config = self._config
        attributes = [config.group_name, "memberOf"]

        async def of_members(members: Sequence[str]) -> list[Entry]:
            found = []
            for at in range(0, len(members), AT_ONCE):
                some = [filled(self._group_filter, {"dn": dn, "name": name}) for dn in members[at : at + AT_ONCE]]
                found += await directory.search(config.group_base, either(some), attributes, most=MOST)
            return found

        async def named(names: Sequence[str]) -> list[Entry]:
            everything = parsed("(objectClass=*)")
            found = []
            for dn in names[:MOST]:
                found += await directory.search(dn, everything, attributes, most=1, below=False)
            return found

        if config.groups == "search":
            nested = config.nested_groups and "dn" in placeholders(self._group_filter)
            return await walk(await of_members([entry.dn]), of_members, base=config.group_base, nested=nested)
        parents = {entry.dn: entry.get("memberOf")}

        async def of_groups(members: Sequence[str]) -> list[Entry]:
            above = list(dict.fromkeys(dn for member in members for dn in parents.get(member, ())))
            found = await named([dn for dn in above if dn not in parents])
            parents.update({group.dn: group.get("memberOf") for group in found})
            return found

        return await walk(await of_groups([entry.dn]), of_groups, base=config.group_base, nested=config.nested_groups)
