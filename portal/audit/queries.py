"""Who may read which part of the audit, and what they ask for: the same for the API and for the page.

Owns: the scope `read:audit`, and that nobody learns by it where others sit. Refuses to know how an entry is shown.
"""

import re
from datetime import UTC, datetime
from typing import Any, Final

from litestar import Request
from litestar.exceptions import HTTPException
from msgspec.structs import replace

from portal.rights.access import View, lacks, signed_in
from portal.site.site import Site
from portal.web.responses import arguments
from state.records.audit import Act, Entry, Outcome, Wanted
from state.store.audit import position

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 1000
_ID: Final = re.compile(r"[0-9]{1,18}-[0-9]{1,18}")
_TEXTS: Final = ("about", "who", "user", "server", "address", "act", "outcome")


class Asked:
    """What a caller asks for and may see. `everything`: they may read the whole audit."""

    def __init__(self, request: Request[Any, Any, Any]) -> None:
        """Raises 400 for a filter that means nothing, 403 for what is not theirs to read."""
        identity = signed_in(request)
        view = View(identity)
        given = arguments(request)
        texts = {name: given.get(name, "").strip()[:200] for name in _TEXTS}
        if texts["act"] not in {"", *Act} or texts["outcome"] not in {"", *Outcome}:
            raise HTTPException(status_code=400, detail="There is no such act or outcome.")
        self.before = given.get("before", "")
        if self.before and not _ID.fullmatch(self.before):
            raise HTTPException(status_code=400, detail="before is the id of an entry.")
        self.limit = _limit(given.get("limit", ""))
        self.everything = view.everywhere("read:audit")
        if not self.everything:
            texts["about"] = texts["about"] or identity.user.name
            if texts["about"] != identity.user.name or not view("read:audit", identity.user, None):
                raise lacks("read:audit")
        self.wanted = Wanted(
            **texts, since=_moment(given.get("since", "")), until=_moment(given.get("until", ""), end=True)
        )
        self.given = given

    async def page(self, site: Site) -> tuple[list[Entry], str]:
        """The entries, newest first, and the id to go on from (`""`: there is nothing older).

        Who may not read everything reads their own short stream: looking through all for a few is an admin's to ask.
        """
        if self.everything:
            return await site.store.audit.page(self.wanted, before=self.before, limit=self.limit)
        mine = await site.store.audit.of_user(self.wanted.about)
        fitting = [
            entry
            for entry in (discreet(each, self.wanted.about) for each in mine)  # first: a filter tells what it fits
            if self.wanted.fits(entry) and (not self.before or position(entry.id) < position(self.before))
        ]
        more = len(fitting) > self.limit
        return fitting[: self.limit], fitting[self.limit - 1].id if more else ""


def discreet(entry: Entry, reader: str) -> Entry:
    """The entry as a person may see it: of what others did to them, not by which credential and from where. Pure."""
    return entry if entry.who == reader else replace(entry, by="", address="")


def _limit(raw: str) -> int:
    if not raw:
        return LIMIT_DEFAULT
    if not raw.isascii() or not raw.isdecimal() or not 1 <= int(raw[:9]) <= LIMIT_MAX:
        raise HTTPException(status_code=400, detail=f"limit is a whole number from 1 to {LIMIT_MAX}.")
    return int(raw)


def _moment(raw: str, *, end: bool = False) -> float | None:
    """A day (all of it, where `end`) or a time, ISO 8601; without an offset: UTC."""
    if not raw:
        return None
    try:
        moment = datetime.fromisoformat(raw)
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise HTTPException(status_code=400, detail="since and until are a day or a time (ISO 8601).") from error
    return seconds + 86400 - 1e-6 if end and len(raw) == len("2026-11-25") else seconds
