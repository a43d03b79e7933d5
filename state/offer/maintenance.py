"""What planned maintenance means for a job: whether it runs into it, and with which time limit it could start now.

Owns these sentences, for the form and for a job that waits. Pure: times are seconds since the epoch, amounts seconds.
"""

import math
from collections.abc import Iterable
from typing import Final

from state.offer.catalog import Reservation
from state.offer.quantities import DAY, HOUR, MINUTE, walltime_words

MARGIN: Final = 30.0
"""Seconds that a job needs to be changed and started before maintenance."""
STEP: Final = 5
"""Limits are rounded down to a multiple of this, in minutes."""
AFTERWARDS: Final = "The job starts after the maintenance."


def most_before(begins: float, now: float) -> int:
    """Return the longest time limit, rounded down, with which a job can start now; 0: there is none."""
    minutes = math.floor((begins - now - MARGIN) / MINUTE)
    minutes -= minutes % STEP if minutes > STEP else 0
    return max(0, _in_two_units(minutes * MINUTE))


def advice(begins: float | None, now: float, *, least: int = 0) -> str:
    """Return how a job could start before maintenance. `begins` None: not known when. `least`: the least time limit."""
    most = 0 if begins is None else most_before(begins, now)
    if most < max(least, MINUTE):
        return AFTERWARDS
    now_with = f"To start now, set a time limit of at most {walltime_words(most)}."
    return f"{now_with} Otherwise the job starts after the maintenance."


def in_the_way(
    reservations: Iterable[Reservation], partition: str, *, own: Reservation | None, time_limit: int | None, now: float
) -> Reservation | None:
    """Return the first maintenance of all nodes of a partition that a job would not end before, or None.

    `own`: the reservation that the job uses. `time_limit` None: it has none.
    """
    end = math.inf if time_limit is None else now + time_limit
    ahead = (one for one in reservations if one.maintenance and one is not own and partition in one.whole_partitions)
    return min((one for one in ahead if one.start < end and now < one.end), key=lambda one: one.start, default=None)


def warning(found: Reservation, *, now: float, least: int | None) -> str:
    """Return what a form says about maintenance. `least`: the least time limit; None: it cannot be chosen."""
    if found.start <= now:
        return "Maintenance is in progress. The server starts when it is over."
    begins = f"Planned maintenance begins in {walltime_words(_in_two_units(int(found.start - now)))}"
    sentence = f"{begins}, before the server would reach its time limit."
    return f"{sentence} {AFTERWARDS if least is None else advice(found.start, now, least=least)}"


def _in_two_units(seconds: int) -> int:
    """Round down, so that no text has days, hours and minutes."""
    return seconds - seconds % (HOUR if seconds >= DAY else MINUTE)
