"""Times as text: ISO 8601 for programs, and for users in UTC with its name.

Pure. A script puts the times of a page into the reader's own time zone (`portal/static/page.js`).
"""

from datetime import UTC, datetime
from functools import lru_cache

MINUTE, DAY = 60, 86400


@lru_cache(maxsize=32_768)  # a list of users has the same times again and again
def iso(seconds: float | None) -> str | None:
    """Return seconds since the epoch as ISO 8601 with microseconds and `Z` (as JupyterHub), or None."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")[:-6] + "Z"  # without +00:00


def absolute(seconds: float) -> str:
    """Return an exact time: `23 November 2026, 09:14 UTC`."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"


def clock(seconds: float) -> str:
    """Return a time of day: `09:14:02 UTC`."""
    return f"{datetime.fromtimestamp(seconds, UTC):%H:%M:%S} UTC"


def recent(seconds: float, now: float) -> bool:
    """Return whether a time is less than a day away, before or after now."""
    return abs(now - seconds) < DAY


def ago(seconds: float, now: float) -> str:
    """Return how long ago: `just now`, `4 min ago`, `in 2 h`. A day or more away, return the exact time."""
    if not recent(seconds, now):
        return absolute(seconds)
    gap = now - seconds
    if abs(gap) < MINUTE:
        return "just now" if gap >= 0 else "in less than a minute"
    minutes = int(abs(gap) // MINUTE)
    text = f"{minutes // 60} h" if minutes >= 60 else f"{minutes} min"  # noqa: PLR2004 - of an hour
    return f"{text} ago" if gap > 0 else f"in {text}"


def until(seconds: float, now: float) -> str:
    """Return how long until a time, rounded down to the minute: `1 h 20 min`, `3 days 4 h`."""
    minutes = int(max(0.0, seconds - now) // MINUTE)
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days} day{'s' if days > 1 else ''}" + (f" {hours} h" if hours else "")
    if hours:
        return f"{hours} h" + (f" {minutes} min" if minutes else "")
    return f"{minutes} min" if minutes else "less than a minute"


def short(seconds: float, now: float) -> str:
    """Return a time that is near, with its day if that is not today: `14:30 UTC`, `24 November, 14:30 UTC`."""
    moment = datetime.fromtimestamp(seconds, UTC)
    if moment.date() == datetime.fromtimestamp(now, UTC).date():
        return f"{moment:%H:%M} UTC"
    return f"{moment.day} {moment:%B, %H:%M} UTC"


def ordinal(number: int) -> str:
    """Return `1st`, `2nd`, `3rd`, `11th`, `22nd`."""
    tens, ones = number // 10 % 10, number % 10
    return f"{number}{'th' if tens == 1 else {1: 'st', 2: 'nd', 3: 'rd'}.get(ones, 'th')}"
