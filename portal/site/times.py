"""Times for two readers: ISO 8601 for programs, plain words for people.

Pure. Owns the wording. Refuses to know clocks: it is given `now`.
"""

from datetime import UTC, datetime
from functools import lru_cache

MINUTE, HOUR, DAY = 60, 3600, 86400


@lru_cache(maxsize=32_768)  # a list of users has the same times again and again
def iso(seconds: float | None) -> str | None:
    """Seconds since the epoch as ISO 8601 with microseconds and `Z` (as JupyterHub), or None."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")[:-6] + "Z"  # without +00:00


def absolute(seconds: float) -> str:
    """A time for a tooltip: `23 November 2026, 09:14 UTC`."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"


def clock(seconds: float) -> str:
    """A time of day: `09:14:02 UTC`."""
    return f"{datetime.fromtimestamp(seconds, UTC):%H:%M:%S} UTC"


def ago(seconds: float, now: float) -> str:
    """How long ago, in words: `just now`, `4 minutes ago`, `3 days ago`; a time to come: `in 2 hours`."""
    gap = now - seconds
    if abs(gap) < MINUTE:
        return "just now" if gap >= 0 else "in less than a minute"
    words = span(gap if gap > 0 else -gap + MINUTE)  # what has just been set for 30 days ends in 30 days
    return f"{words} ago" if gap > 0 else f"in {words}"


def until(seconds: float, now: float) -> str:
    """How long until a time, to the minute: `1 h 20 min`, `3 days 4 h`. Never more than is left."""
    minutes = int(max(0.0, seconds - now) // MINUTE)
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days} day{'s' if days > 1 else ''}" + (f" {hours} h" if hours else "")
    if hours:
        return f"{hours} h" + (f" {minutes} min" if minutes else "")
    return f"{minutes} min" if minutes else "less than a minute"


def short(seconds: float, now: float) -> str:
    """A time that is near, with its day when it is not today: `14:30 UTC`, `24 November, 14:30 UTC`."""
    moment = datetime.fromtimestamp(seconds, UTC)
    if moment.date() == datetime.fromtimestamp(now, UTC).date():
        return f"{moment:%H:%M} UTC"
    return f"{moment.day} {moment:%B, %H:%M} UTC"


def ordinal(number: int) -> str:
    """`1st`, `2nd`, `3rd`, `11th`, `22nd`."""
    tens, ones = number // 10 % 10, number % 10
    return f"{number}{'th' if tens == 1 else {1: 'st', 2: 'nd', 3: 'rd'}.get(ones, 'th')}"


def span(seconds: float) -> str:
    """A length of time by its largest unit: `40 seconds`, `1 hour`, `12 days`."""
    for size, word in ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute"), (1, "second")):
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {word}" if count == 1 else f"{count} {word}s"
    return "a moment"
