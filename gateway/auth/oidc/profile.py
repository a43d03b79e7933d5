"""Who somebody is at a provider of OAuth 2 alone: its API is asked, with their access token.

Owns: its endpoints, and the pages of its lists. Refuses to know which provider it is (`gateway.auth.oidc.presets`) and
what follows from its groups. Nothing here proves anything but that the token is this client's: the code that it came
for was bound to this browser and this client (PKCE).
"""

from typing import Any, Final
from urllib.parse import urlsplit

from gateway.auth.oidc import claims as reading
from gateway.auth.oidc.discovery import Facts
from gateway.auth.oidc.door import Client, PublicKey
from gateway.auth.oidc.errors import AwayError, ProviderError, UnbelievableError
from gateway.auth.oidc.presets import GROUPS, Lookup, Preset

PAGES_MAX: Final = 20


class Profile:
    """One provider (`gateway.auth.oidc.discovery.Source`)."""

    def __init__(self, client: Client, preset: Preset, url: str) -> None:
        """`url`: of an installation of one's own; `""`: the public one."""
        self._client = client
        self._preset = preset
        site = url.rstrip("/") or preset.site
        self._api = f"{site}{preset.own_api}" if url else preset.api
        self._facts = Facts(issuer=site, authorize=f"{site}{preset.authorize}", token=f"{site}{preset.exchange}")

    async def facts(self) -> Facts:
        """The endpoints, known beforehand."""
        return self._facts

    async def keys(self, wanted: str) -> tuple[PublicKey, ...]:  # noqa: ARG002
        """It signs nothing."""
        return ()

    async def read(self, access_token: str) -> dict[str, Any]:
        """What the API says of whom the token is, with their groups. Raises AwayError, ProviderError."""
        found = await self._ask(f"{self._api}{self._preset.profile}", access_token)
        if not isinstance(found[0], dict):
            raise UnbelievableError("the profile is no JSON object")
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
        raise AwayError(f"{lookup.path} has more than {PAGES_MAX} pages")

    async def _ask(self, url: str, access_token: str) -> tuple[Any, str]:
        answer = await self._client.get(url, bearer=access_token)
        if answer.status == 401:  # noqa: PLR2004 - HTTP
            raise ProviderError("invalid_token")
        if answer.status == 403:  # noqa: PLR2004 - HTTP
            raise ProviderError("insufficient_scope")
        if answer.status != 200:  # noqa: PLR2004 - HTTP
            raise AwayError(f"{url} answers {answer.status}")
        return answer.value, answer.next if urlsplit(answer.next)[:2] == urlsplit(self._api)[:2] else ""
