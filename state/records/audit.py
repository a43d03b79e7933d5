"""The audit's entries: who did what to whom, from where, with what outcome, and why.

Owns the kinds of acts, the fields of an entry and their maximum lengths, the two written forms (a JSON line and an RFC
5424 message), and the filters for readers. Does not know where entries are stored or who reads them. Pure.

Text from outside is escaped here and nowhere else: every character that could end a line, hide text or move a cursor is
written as an escape, and every text has a maximum length. No entry contains a secret: a credential is named by its
public id.

Sources: RFC 5424 (syslog), RFC 5426 (over UDP), CWE-117 (log injection), Trojan Source (CVE-2021-42574, bidi controls).
"""

import unicodedata
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec import Struct

from state.records.models import Server, Token
from state.records.stored import Stored, known_fields

NAME_MAX: Final = 128
SCOPES_SHOWN: Final = 8
TEXT_MAX: Final = 400
SYSLOG_MAX: Final = 2048
"""Maximum size of a message in octets. RFC 5424 section 6.1: receivers must accept 480 and should accept 2048."""

_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Invisible Unicode categories: control, format (bidi), surrogate, private, unassigned, line, paragraph."""


class Act(StrEnum):
    """What was done or tried."""

    SIGN_IN = "sign-in"
    SIGN_OUT = "sign-out"
    TOKEN_MADE = "token-made"  # noqa: S105 - an act
    TOKEN_REVOKED = "token-revoked"  # noqa: S105 - an act
    SERVER_START = "server-start"
    SERVER_STOP = "server-stop"
    SERVER_REMOVED = "server-removed"
    SERVER_ENDED = "server-ended"  # by itself: crash, time limit, the scheduler
    SERVER_ACCESS = "server-access"  # by anyone except its owner; once an hour per credential and server
    SERVER_CONNECT = "server-connect"  # by SSH: each connection
    SHARE_MADE = "share-made"
    SHARE_REVOKED = "share-revoked"
    USER_ADDED = "user-added"
    USER_CHANGED = "user-changed"
    USER_REMOVED = "user-removed"
    GROUP_CHANGED = "group-changed"
    SERVICE_CHANGED = "service-changed"
    CONSENT = "consent"  # a service or server was allowed to act for a user (OAuth)
    HUB = "hub"  # the hub itself: proxy routes, shutdown
    REQUEST = "request"  # any other request; only rejected ones are recorded


class Outcome(StrEnum):
    """The outcome of an act."""

    DONE = "done"
    REFUSED = "refused"


class Entry(Stored, frozen=True, kw_only=True, omit_defaults=True):
    """One act.

    `who` did it (the name of a user or service; as typed, for a rejected sign-in; `""`: unknown), authenticated by `by`
    (`session ID`, `token ID`, `command line`, `controller`), from `address`. It was done to `user` (`""`: no user in
    particular) and their `server` (None: none; `""`: the default one). `what`: details of the act; `why`: the reason
    for a rejection or an end. `id` is that of the stream, empty until stored.
    """

    time: float
    act: Act
    outcome: Outcome = Outcome.DONE
    who: str = ""
    by: str = ""
    address: str = ""
    user: str = ""
    server: str | None = None
    what: str = ""
    why: str = ""
    id: str = ""


class AuditFilter(Struct, frozen=True, kw_only=True):
    """A filter for entries; empty fields match everything. `since` and `until` are seconds since the epoch, inclusive.

    `about`: entries that this user did or that were done to them.
    """

    about: str = ""
    who: str = ""
    user: str = ""
    server: str = ""
    address: str = ""
    act: str = ""
    outcome: str = ""
    since: float | None = None
    until: float | None = None

    def fits(self, entry: Entry) -> bool:
        """Return whether the entry matches."""
        return (
            (not self.about or self.about in {entry.who, entry.user})
            and (not self.who or self.who == entry.who)
            and (not self.user or self.user == entry.user)
            and (not self.server or self.server == entry.server)
            and (not self.address or self.address == entry.address)
            and (not self.act or self.act == entry.act)
            and (not self.outcome or self.outcome == entry.outcome)
            and (self.since is None or entry.time >= self.since)
            and (self.until is None or entry.time <= self.until)
        )


def of_end(server: Server, *, time: float, by: str) -> Entry:
    """Return the entry for a server that has ended."""
    return Entry(
        time=time,
        act=Act.SERVER_ENDED,
        by=by,
        user=server.user,
        server=server.name,
        what=server.status,
        why=server.reason.message if server.reason else "",
    )


def plain(text: str, most: int) -> str:
    """Return the text as one visible line of at most `most` characters, with an ellipsis if it was longer."""
    cut = text[: most + 1]
    if not (cut.isascii() and cut.isprintable()):
        cut = "".join(_visible(character) for character in cut)
    return cut if len(cut) <= most else cut[: most - 1] + "…"


def made_plain(entry: Entry) -> Entry:
    """Return the entry with all texts escaped and truncated."""
    return msgspec.structs.replace(
        entry,
        **{name: plain(getattr(entry, name), NAME_MAX) for name in ("who", "by", "address", "user")},
        **{name: plain(getattr(entry, name), TEXT_MAX) for name in ("what", "why")},
        server=None if entry.server is None else plain(entry.server, NAME_MAX),
    )


def shown(entry: Entry) -> dict[str, Any]:
    """Return the entry as an object for JSON: the time in ISO 8601, without empty fields."""
    known = known_fields(entry)
    fields: dict[str, Any] = {"id": entry.id, "time": moment(entry.time)}
    fields |= {name: known[name] for name in ("act", "who", "by", "address", "user", "server") if name in known}
    return fields | {"outcome": str(entry.outcome)} | {name: known[name] for name in ("what", "why") if name in known}


def line(entry: Entry) -> bytes:
    """Return the entry as one JSON line, with a line end."""
    return msgspec.json.encode(shown(entry)) + b"\n"


def syslog(entry: Entry, *, host: str, pid: int) -> bytes:
    """Return an RFC 5424 message: facility 13 (log audit), severity notice if done and warning if rejected.

    The fields are in one SD-ELEMENT, followed by a sentence for readers. The enterprise number 32473 is reserved for
    documentation (RFC 5612), because Towpath has none of its own.
    """
    severity = 5 if entry.outcome is Outcome.DONE else 4
    head = f"<{13 * 8 + severity}>1 {moment(entry.time)} {_token(host, 255)} towpath {pid} {_token(entry.act, 32)}"
    fields = {name: str(value) for name, value in shown(entry).items() if name != "time"}
    element = "".join(f' {name}="{_escaped(value)}"' for name, value in fields.items())
    message = f"{head} [towpath@32473{element}] {_sentence(entry)}".encode()
    return message[:SYSLOG_MAX].decode(errors="ignore").encode() if len(message) > SYSLOG_MAX else message


def moment(seconds: float) -> str:
    """Return ISO 8601 with microseconds and `Z`, which RFC 5424 (section 6.2.3) accepts too."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _visible(character: str) -> str:
    return f"\\u{{{ord(character):x}}}" if unicodedata.category(character) in _HIDDEN else character


def _token(text: str, most: int) -> str:
    """Return PRINTUSASCII without spaces; a dash if empty."""
    return "".join(character for character in text if "!" <= character <= "~")[:most] or "-"


def _escaped(value: str) -> str:
    r"""Escape a PARAM-VALUE: `"`, `\\` and `]` get a backslash (RFC 5424 section 6.3.3)."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")


def _sentence(entry: Entry) -> str:
    """Return a sentence for readers of the log."""
    parts = [entry.act.replace("-", " ") if entry.outcome is Outcome.DONE else f"{entry.act.replace('-', ' ')} refused"]
    if entry.who:
        parts.append(f"by {entry.who}")
    if entry.user and (entry.server is not None or entry.user != entry.who):
        parts.append(f"for {entry.user}" if entry.server is None else f"for {entry.user}/{entry.server}")
    if entry.address:
        parts.append(f"from {entry.address}")
    return " ".join(parts) + (f": {entry.why}" if entry.why else "")


def describe_token(token: Token) -> str:
    """Describe a token for an entry: its public id, its note, and its scopes."""
    many = len(token.scopes) > SCOPES_SHOWN
    scopes = f"{len(token.scopes)} scopes" if many else " ".join(token.scopes) or "nothing"
    return f"token {token.id} ({token.note or 'no note'}): {scopes}; {'ends' if token.expires else 'never ends'}"
