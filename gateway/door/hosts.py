"""Which requests a host answers, where each person's servers have an origin of their own (`[gateway] user_domain`).

Owns: that decision, and the two cookies of such an origin. Refuses to know who may do what: the door asks that next.

The hub's own host never carries an app's bytes, and a person's host carries theirs alone. A browser that comes to a
person's host without its cookie is led to the hub, which knows who is signed in, and back with a one-time code
(`portal.pages.entrance`), which becomes a token for these servers alone, in a cookie of that host alone. It ends with
the session on the hub.
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
        """`mark`: of the hub's cookies (`gateway.auth.cookies.mark_of`)."""
        secure = origins.hub.startswith("https:")
        self._origins = origins
        self._hub = f"{base_path}hub/"
        self._enter = f"{base_path}hub/enter".encode()
        self._static = f"{base_path}hub/static/".encode()
        self.jar = CookieJar(secure=secure, base_path=base_path, name=ORIGIN_NAME, mark=mark)
        self._entrance = self.jar.another(ENTRANCE_NAME)

    def label_in(self, host: bytes) -> str:
        """Whose host this is, as a label; `""`: the hub's own."""
        return self._origins.label_in(host)

    def elsewhere(self, label_here: str, path: bytes, target: UserPath | None) -> str:
        """The origin that answers this path, where it is not this one; `""`: it is."""
        if target is not None:
            return "" if label(target.user) == label_here else self._origins.of(target.user)
        if not label_here or path == self._enter or path.startswith(self._static):
            return ""
        return self._origins.hub

    def lead_in(self, target: bytes, cookies: list[bytes]) -> tuple[bytes, bytes]:
        """Where a browser without the cookie of this host goes, and the cookie that it takes along (Set-Cookie).

        Several tabs share one such cookie: each of their codes is for it.
        """
        mine = self._entrance.ticket(cookies) or secrets.token_urlsafe(24)
        state = hashlib.sha256(mine.encode()).hexdigest()
        where = f"{self._origins.hub}{self._hub}entrance?state={state}&next={quote(target.decode('latin-1'), safe='')}"
        return where.encode(), self._entrance.set(mine, lifetime=ENTRANCE_SECONDS).encode()
