"""Combinations of partition, account and QOS that a user can use with a profile, with room for a job.

Owns what each way offers, and which ways are compatible with a name. Pure. Does not know what was picked.

Ways that cannot work are left out: a way's partition accepts jobs, admits its account and QOS, and has nodes that
satisfy the profile's minimum request as a whole.
"""

from collections.abc import Iterable
from itertools import product
from typing import Any

from msgspec.structs import replace

from state.config.tables import OptionConfig, ProfileConfig
from state.offer.access import NOTHING_KNOWN, Door, Facts, allowed_names, folded, may_use, partitions
from state.offer.catalog import Reservation
from state.offer.limits import Bounds, bounds
from state.offer.nodes import default_memory
from state.offer.option_kinds import COUNTED, amount, fixed, least, of_entry, scheduler_options, unit
from state.offer.way import Request, Way

__all__ = ["NOTHING_KNOWN", "Combinations", "Facts", "lowest", "names_of", "reservations", "ways"]


class Combinations:
    """The ways that a user may use with a profile, and the names that are compatible with each."""

    def __init__(self, profile: ProfileConfig, facts: Facts) -> None:
        self.profile = profile
        self.options = scheduler_options(profile)
        self.facts = facts
        self._rooms: dict[tuple[Any, ...], bool] = {}
        self.every: tuple[Way, ...] = tuple(self._find())

    def _find(self) -> Iterable[Way]:
        if self.facts.catalog is None:
            return
        door = Door(self.profile, self.options, self.facts)
        for partition in partitions(self.profile, self.options, self.facts.catalog):
            if partition.takes_jobs:
                yield from (way for way in door.ways(partition) if self.has_room(way))

    def has_room(
        self, way: Way, *, gpu: str | None = None, constraint: str | None = None, reservation: str | None = None
    ) -> bool:
        """Return whether the profile's minimum request fits with these names; None: with any that it allows."""
        alike = (*self._alike(way), gpu, constraint, reservation)
        if alike not in self._rooms:
            self._rooms[alike] = any(
                self._fits(way, request)
                for request in self._requests(way, gpu=gpu, constraint=constraint, reservation=reservation)
            )
        return self._rooms[alike]

    def _alike(self, way: Way) -> tuple[object, ...]:
        """Return the key of ways with the same room: accounts and QOS without limits do not differ."""
        account = way.account if self._reserves(way) else ""
        return (way.partition.name, way.rules.bindings, way.rules.ignored, way.needs_reservation, account)

    def _reserves(self, way: Way) -> bool:
        return way.needs_reservation or "reservation" in self.options or bool(self.profile.resources.reservation)

    def _requests(
        self, way: Way, *, gpu: str | None, constraint: str | None, reservation: str | None
    ) -> Iterable[Request]:
        """Yield the possible names of a job's request, without amounts."""
        known = {one.name: one for one in reservations(way, self.facts)}
        names = [reservation] if reservation is not None else self._names("reservation", list(known))
        reserved = [known.get(name) for name in names if (name in known or not name)]
        if way.needs_reservation:
            reserved = [one for one in reserved if one is not None]
        types = [gpu] if gpu is not None else self._names("gpu", [one.type for one in way.partition.gpus])
        features = [constraint] if constraint is not None else self._names("constraint", [])
        for kind, feature, one in product(types, features, reserved):
            yield Request(gpu=kind, constraint=feature, reservation=one)

    def _names(self, kind: str, available: list[str]) -> list[str]:
        """Return the existing names of a kind that the profile allows; `""`: none."""
        names = allowed_names(self.profile, self.options, kind)
        if names is None:
            return ["", *available]
        return list(names) or [""]

    def _fits(self, way: Way, request: Request) -> bool:
        """Return whether each amount can have a value, taking the minimum of one after the other."""
        for kind in COUNTED:
            found = bounds(kind, way, request)
            if kind in self.options:
                at_least = lowest(kind, self.options[kind][1], found, gpu=request.gpu)
                if at_least is None:
                    return False
            else:
                at_least = fixed(self.profile.resources, kind)
                if not _within(at_least if at_least is not None else _unasked(kind, way, request), found):
                    return False
            if at_least is not None:
                request = replace(request, **{kind: at_least})
        return True

    def goes(self, kind: str, value: str, way: Way, *, gpu: str = "") -> bool:
        """Return whether a picked name is available this way. `gpu`: the type of GPU that is picked with it."""
        match kind:
            case "partition":
                return way.partition.name == value
            case "account":
                return folded(way.account) == folded(value)
            case "qos":
                return way.qos.name == value
            case "reservation":
                return any(one.name == value for one in reservations(way, self.facts)) and self.has_room(
                    way, reservation=value
                )
            case "gpu":
                return any(one.type == value for one in way.partition.gpus) and self.has_room(way, gpu=value)
            case _:
                named = set(value.replace("|", "&").replace(",", "&").split("&"))
                known = not way.partition.features or named <= set(way.partition.features)
                return known and self.has_room(way, constraint=value, gpu=gpu or None)

    def values_of(self, kind: str, way: Way, *, gpu: str = "") -> Iterable[str]:
        """Return the names that a way has for a kind."""
        match kind:
            case "partition":
                return (way.partition.name,)
            case "account":
                return (way.account,)
            case "qos":
                return (way.qos.name,)
            case "reservation":
                names = [one.name for one in reservations(way, self.facts)]
            case "gpu":
                names = [one.type for one in way.partition.gpus]
            case _:
                names = list(way.partition.features)
        return tuple(name for name in names if self.goes(kind, name, way, gpu=gpu))

    def unlike(self, kind: str, some: Iterable[Way]) -> list[Way]:
        """Return one way for each set of names of a kind: there may be thousands of ways."""
        found: dict[object, Way] = {}
        for way in some:
            match kind:
                case "partition":
                    key: object = way.partition.name
                case "account":
                    key = way.account
                case "qos":
                    key = way.qos.name
                case _:
                    key = self._alike(way)
            found.setdefault(key, way)
        return list(found.values())


def ways(profile: ProfileConfig, facts: Facts) -> tuple[Way, ...]:
    """Yield the ways that the user may use with this profile."""
    return Combinations(profile, facts).every


def reservations(way: Way, facts: Facts) -> list[Reservation]:
    """Return the reservations that this way may use and that have not ended."""
    catalog = facts.catalog
    assert catalog is not None  # there is a way, so there is a catalog
    accounts = (way.account, *(one.name for one in way.rules.ancestry))
    return [
        one
        for one in catalog.reservations
        if one.end > catalog.time and one.partition in {"", way.partition.name} and may_use(one, facts, accounts)
    ]


def names_of(names: Iterable[str]) -> list[str]:
    """Return the names without duplicates and empty ones, in order."""
    return [name for name in dict.fromkeys(names) if name]


def lowest(kind: str, option: OptionConfig, found: Bounds, *, gpu: str = "") -> int | None:
    """Return the smallest amount that the option allows within these bounds, or None. A type of GPU means one."""
    low = max(least(kind, option), found.least.amount if found.least else 0, int(kind == "gpus" and gpu != ""))
    own = None if option.maximum is None else option.maximum * unit(kind)
    high = min((one for one in (own, found.most.amount if found.most else None) if one is not None), default=None)
    listed = [amount(kind, of_entry(kind, entry)) for entry in option.values] or [low]
    return min(
        (one for one in listed if one is not None and one >= low and (high is None or one <= high)), default=None
    )


def _within(requested: int | None, found: Bounds) -> bool:
    if requested is None:
        return True
    low, high = found.least, found.most
    return (low is None or requested >= low.amount) and (high is None or requested <= high.amount)


def _unasked(kind: str, way: Way, request: Request) -> int | None:
    """Return the amount of a job that does not request it; None: the cluster decides."""
    if kind == "memory":
        return default_memory(way.partition, request)
    return {"nodes": 1, "cores": 1, "gpus": request.gpu_count}.get(kind)
