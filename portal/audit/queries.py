"""Which part of the audit a caller may read, and the filters, for the API and the page.

Owns the scope `read:audit`, and hides from users the addresses of others. Does not know how an entry is shown.
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
from state.records.audit import Act, AuditFilter, Entry, Outcome
from state.store.audit import position

LIMIT_DEFAULT: Final = 100
LIMIT_MAX: Final = 1000
_ID: Final = re.compile(r"[0-9]{1,18}-[0-9]{1,18}")
_TEXTS: Final = ("about", "who", "user", "server", "address", "act", "outcome")


class AuditQuery:
    """A caller's query and what they may see. `everything`: they may read the whole audit."""

    def __init__(self, request: Request[Any, Any, Any]) -> None:
        """Raise 400 for an invalid filter, and 403 for what the caller may not read."""
        identity = signed_in(request)
        view = View(identity)
        query = arguments(request)
        texts = {name: query.get(name, "").strip()[:200] for name in _TEXTS}
        if texts["act"] not in {"", *Act} or texts["outcome"] not in {"", *Outcome}:
            raise HTTPException(status_code=400, detail="This act or outcome does not exist.")
        self.before = query.get("before", "")
        if self.before and not _ID.fullmatch(self.before):
            raise HTTPException(status_code=400, detail="before must be the id of an entry.")
        self.limit = _limit(query.get("limit", ""))
        self.everything = view.everywhere("read:audit")
        if not self.everything:
            texts["about"] = texts["about"] or identity.user.name
            if texts["about"] != identity.user.name or not view("read:audit", identity.user, None):
                raise lacks("read:audit")
        self.filters = AuditFilter(
            **texts, since=_moment(query.get("since", "")), until=_moment(query.get("until", ""), end=True)
        )
        self.arguments = query

    async def page(self, site: Site) -> tuple[list[Entry], str]:
        """Return the entries, newest first, and the id to continue from (`""`: no older ones).

        Callers who may not read everything read their own short stream: searching all entries is reserved for admins.
        """
        if self.everything:
            return await site.store.audit.page(self.filters, before=self.before, limit=self.limit)
        mine = await site.store.audit.of_user(self.filters.about)
        fitting = [
            entry
            # before filtering: a filter would reveal what it matches
            for entry in (discreet(each, self.filters.about) for each in mine)
            if self.filters.fits(entry) and (not self.before or position(entry.id) < position(self.before))
        ]
        more = len(fitting) > self.limit
        return fitting[: self.limit], fitting[self.limit - 1].id if more else ""


def discreet(entry: Entry, reader: str) -> Entry:
    """Return the entry without the credentials and addresses of others. Pure."""
    return entry if entry.who == reader else replace(entry, by="", address="")


def _limit(raw: str) -> int:
    if not raw:
        return LIMIT_DEFAULT
    if not raw.isascii() or not raw.isdecimal() or not 1 <= int(raw[:9]) <= LIMIT_MAX:
        raise HTTPException(status_code=400, detail=f"limit must be a whole number from 1 to {LIMIT_MAX}.")
    return int(raw)


def _moment(raw: str, *, end: bool = False) -> float | None:
    """Parse a day (all of it, with `end`) or a time in ISO 8601; UTC without an offset."""
    if not raw:
        return None
    try:
        moment = datetime.fromisoformat(raw)
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise HTTPException(status_code=400, detail="since and until must be a day or a time (ISO 8601).") from error
    return seconds + 86400 - 1e-6 if end and len(raw) == len("2026-11-25") else seconds
