"""Decides which requests a host serves if each user's servers have their own origin (`[gateway] user_domain`).

Owns that decision, and the two cookies of such an origin. Does not check access: the door does that next.

The hub's own host never serves an app, and a user's host serves only that user's apps. A browser that arrives at a
user's host without its cookie is redirected to the hub, which knows the session, and back with a one-time code
(`portal.pages.entrance`). The code is exchanged for a token that is valid only for these servers, in a cookie of that
host. It ends with the session on the hub.
"""

import hashlib
import secrets
from typing import Final
from urllib.parse import quote

from gateway.auth.cookies import ENTRANCE_NAME, ORIGIN_NAME, CookieJar
from gateway.door.paths import UserPath
from state.config.origins import Origins, label

ENTRANCE_SECONDS: Final = 300


class Hosts:
    """The hosts of one hub."""

    def __init__(self, origins: Origins, *, base_path: str, mark: str = "") -> None:
        """`mark`: the suffix of the hub's cookies (`gateway.auth.cookies.mark_of`)."""
        secure = origins.hub.startswith("https:")
        self._origins = origins
        self._hub = f"{base_path}hub/"
        self._enter = f"{base_path}hub/enter".encode()
        self._static = f"{base_path}hub/static/".encode()
        self.jar = CookieJar(secure=secure, base_path=base_path, name=ORIGIN_NAME, mark=mark)
        self._entrance = self.jar.another(ENTRANCE_NAME)

    def label_in(self, host: bytes) -> str:
        """Return the label of a user's host; `""`: the hub's own host."""
        return self._origins.label_in(host)

    def elsewhere(self, label_here: str, path: bytes, target: UserPath | None) -> str:
        """Return the origin that serves this path; `""`: this one."""
        if target is not None:
            return "" if label(target.user) == label_here else self._origins.of(target.user)
        if not label_here or path == self._enter or path.startswith(self._static):
            return ""
        return self._origins.hub

    def lead_in(self, target: bytes, cookies: list[bytes]) -> tuple[bytes, bytes]:
        """Return the URL for a browser without this host's cookie, and the Set-Cookie value of the flow.

        Several tabs share this cookie: all their codes are bound to it.
        """
        mine = self._entrance.ticket(cookies) or secrets.token_urlsafe(24)
        state = hashlib.sha256(mine.encode()).hexdigest()
        where = f"{self._origins.hub}{self._hub}entrance?state={state}&next={quote(target.decode('latin-1'), safe='')}"
        return where.encode(), self._entrance.set(mine, lifetime=ENTRANCE_SECONDS).encode()
