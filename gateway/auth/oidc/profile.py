"""Reads a user's profile from the API of a provider that supports only OAuth 2.

Owns the provider's endpoints, and reading lists with several pages. Does not know which provider it is
(`gateway.auth.oidc.presets`), and does not interpret groups. The profile is trusted because the token belongs to this
client: its code was bound to this browser and this client (PKCE).
"""

from typing import Any, Final
from urllib.parse import urlsplit

from gateway.auth.oidc import claims as reading
from gateway.auth.oidc.discovery import Facts
from gateway.auth.oidc.errors import InvalidResponseError, ProviderError, UnreachableError
from gateway.auth.oidc.presets import GROUPS, Lookup, Preset
from gateway.auth.oidc.protocol import Client, PublicKey

PAGES_MAX: Final = 20


class Profile:
    """One provider (`gateway.auth.oidc.discovery.Source`)."""

    def __init__(self, client: Client, preset: Preset, url: str) -> None:
        """`url`: the URL of a self-hosted installation; `""`: the public one."""
        self._client = client
        self._preset = preset
        site = url.rstrip("/") or preset.site
        self._api = f"{site}{preset.own_api}" if url else preset.api
        self._facts = Facts(issuer=site, authorize=f"{site}{preset.authorize}", token=f"{site}{preset.exchange}")

    async def facts(self) -> Facts:
        """Return the endpoints of the preset."""
        return self._facts

    async def keys(self, key_id: str) -> tuple[PublicKey, ...]:  # noqa: ARG002
        """Return no keys: the provider signs nothing."""
        return ()

    async def read(self, access_token: str) -> dict[str, Any]:
        """Return the profile of the token's user, with groups. Raises UnreachableError, ProviderError."""
        found = await self._ask(f"{self._api}{self._preset.profile}", access_token)
        if not isinstance(found[0], dict):
            raise InvalidResponseError("the profile is not a JSON object")
        groups: list[str] = []
        for lookup in self._preset.lookups:
            groups += await self._list(lookup, access_token)
        return {**found[0], GROUPS: groups}

    async def _list(self, lookup: Lookup, access_token: str) -> list[str]:
        names: list[str] = []
        url = f"{self._api}{lookup.path}"
        for _ in range(PAGES_MAX):
            entries, url = await self._ask(url, access_token)
            for entry in entries if isinstance(entries, list) else ():
                parts = [reading.text(entry, part) for part in lookup.parts] if isinstance(entry, dict) else []
                if parts and all(parts):
                    names.append(":".join(parts))
            if not url:
                return names
        raise UnreachableError(f"{lookup.path} has more than {PAGES_MAX} pages")

    async def _ask(self, url: str, access_token: str) -> tuple[Any, str]:
        answer = await self._client.get(url, bearer=access_token)
        if answer.status == 401:  # noqa: PLR2004 - HTTP
            raise ProviderError("invalid_token")
        if answer.status == 403:  # noqa: PLR2004 - HTTP
            raise ProviderError("insufficient_scope")
        if answer.status != 200:  # noqa: PLR2004 - HTTP
            raise UnreachableError(f"{url} answers {answer.status}")
        return answer.value, answer.next if urlsplit(answer.next)[:2] == urlsplit(self._api)[:2] else ""
