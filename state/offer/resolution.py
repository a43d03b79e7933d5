"""Resolves picks to a value for every field that requests resources from the scheduler, or to an error beside it.

Owns defaults that work, and the message beside each pick that is not compatible with the rest. Pure. Does not know
about forms and the format of values (`state.offer.choices`).
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from state.config.tables import OptionConfig
from state.offer.access import folded
from state.offer.combinations import Combinations, Facts, lowest, names_of, reservations
from state.offer.limits import Bounds, bounds
from state.offer.nodes import default_memory
from state.offer.nothing import why_nothing
from state.offer.option_kinds import COUNTED, NAMED, amount, canonical, fixed, least, of_entry, unit
from state.offer.way import Request, Way


class Settled(Struct, frozen=True, kw_only=True):
    """The result of picks. `way` None: there is none. `wrong`: option → message.

    `usual`: the value that every option would have this way without a pick. `request`: the picks' request, with the
    minimum of the other options, which a further pick must be compatible with.
    """

    way: Way | None
    values: dict[str, Any]
    usual: dict[str, Any]
    wrong: dict[str, str]
    request: Request = Request()


def settle(combinations: Combinations, picks: Mapping[str, Any]) -> Settled:
    """Return a value for every option that requests resources from the scheduler, and all errors in the picks.

    `picks`: option → canonical value, only of options that were picked. The others get compatible values: the profile's
    default if that works, or else the user's, or else the cluster's. An invalid name gets the value that it would have
    without a pick.
    """
    options = combinations.options
    if not combinations.every:
        where = next((options[kind][0] for kind in ("partition", "account", "gpu") if kind in options), "profile")
        wrong = {where: why_nothing(combinations.profile, combinations.facts)}
        return Settled(way=None, values={}, usual={}, wrong=wrong)
    picked = {kind: picks[name] for kind, (name, _) in options.items() if name in picks}
    way, wrong = _way(combinations, picked)
    usual: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for kind in (one for one in NAMED if one in options):
        name, option = options[kind]
        usual[name] = _usual_name(combinations, kind, option, way, gpu=_named(combinations, "gpu", values))
        values[name] = picked[kind] if kind in picked and name not in wrong else usual[name]
    amounts = _amounts(combinations, way, picked, _bare(combinations, way, values))
    return Settled(
        way=way,
        values=values | amounts.values,
        usual=usual | amounts.usual,
        wrong=wrong | amounts.wrong,
        request=amounts.request,
    )


# --- names: one after the other, each among what the ones before it leave --------------------------------------------
def _way(combinations: Combinations, picked: Mapping[str, Any]) -> tuple[Way, dict[str, str]]:
    left = combinations.every
    wrong: dict[str, str] = {}
    for kind in NAMED:
        value = picked.get(kind)
        if not value:
            continue
        gpu = picked.get("gpu", "") if kind == "constraint" else ""
        fit = tuple(way for way in left if combinations.goes(kind, value, way, gpu=gpu))
        if not fit:
            wrong[combinations.options[kind][0]] = _why_not(combinations, kind, value, left)
        left = fit or left
    return min(left, key=lambda one: _preference(combinations, one)), wrong


def _why_not(combinations: Combinations, kind: str, value: str, ways: tuple[Way, ...]) -> str:
    """Return why this pick is not possible, and what can be picked instead."""
    option, facts = combinations.options[kind][1], combinations.facts
    partitions = names_of(way.partition.name for way in ways)
    where = f"partition {partitions[0]}" if len(partitions) == 1 else "this cluster"
    others = [
        name
        for name in names_of(found for way in ways for found in combinations.values_of(kind, way))
        if not option.values or name in option.values
    ]
    elsewhere = names_of(way.partition.name for way in combinations.every if combinations.goes(kind, value, way))
    match kind:
        case "partition":
            reason = _why_not_partition(facts, value)
        case "account":
            reason = f"Account {value} cannot be used in {where}."
        case "qos":
            reason = f"QOS {value} cannot be used in {where}."
        case "reservation":
            reason = f"Reservation {value} is not available to you in {where}."
        case "gpu":
            reason = f"No {value} GPUs are available to you in {where}"
            reason += f". They are in: {', '.join(elsewhere)}." if elsewhere else "."
        case _:
            reason = f"No node in {where} has the features {value} and everything else that you request."
    return f"{reason} Pick one of: {', '.join(others)}." if others else reason


def _why_not_partition(facts: Facts, value: str) -> str:
    found = facts.catalog.partition(value) if facts.catalog is not None else None
    if found is None:
        return f"Partition {value} does not exist."
    if not found.nodes:
        return f"Partition {value} has no nodes."
    if not found.takes_jobs:
        return f"Partition {value} takes no new jobs now ({found.state})."
    return f"Partition {value} is not available to you with this profile."


def _preference(combinations: Combinations, way: Way) -> tuple[bool, ...]:
    """Return the sort key by which a way is chosen if the user did not pick it: the smallest first."""

    def preferred(kind: str) -> str:
        usual = combinations.options[kind][1].default if kind in combinations.options else None
        return usual or fixed(combinations.profile.resources, kind) or ""

    return (
        way.partition.name != preferred("partition"),
        not way.partition.up,
        not way.partition.default,
        folded(way.account) != folded(preferred("account")),
        way.account != combinations.facts.grants.default_account,
        way.qos.name != preferred("qos"),
        way.rules.association is not None and way.qos.name != way.rules.association.default_qos,
    )


def _usual_name(combinations: Combinations, kind: str, option: OptionConfig, way: Way, *, gpu: str) -> str:
    """Return the name of an option without a pick: one that is compatible with this way."""
    if kind in {"partition", "account", "qos"}:
        return next(iter(combinations.values_of(kind, way)))
    usual = option.default or fixed(combinations.profile.resources, kind) or ""
    if usual and combinations.goes(kind, usual, way, gpu=gpu):
        return str(usual)
    if not option.values or "" in option.values:
        needed = kind == "reservation" and way.needs_reservation
        return next(iter(combinations.values_of(kind, way))) if needed else _none_or_first(combinations, kind, way)
    return next((name for name in option.values if combinations.goes(kind, name, way, gpu=gpu)), option.values[0])


def _none_or_first(combinations: Combinations, kind: str, way: Way) -> str:
    """Return no name if a job without one has room, or else the first name that has room."""
    if combinations.has_room(way, **{kind: ""}):
        return ""
    return next(iter(combinations.values_of(kind, way)), "")


def _named(combinations: Combinations, kind: str, values: Mapping[str, Any]) -> str:
    """Return a job's name of a kind: the pick, or the profile's own."""
    if kind in combinations.options:
        return str(values.get(combinations.options[kind][0], "") or "")
    return fixed(combinations.profile.resources, kind) or ""


# --- amounts: each within what binds this way -------------------------------------------------------------------
def _bare(combinations: Combinations, way: Way, values: Mapping[str, Any]) -> Request:
    """Return the request of these names, with the profile's own amounts and the minimum of the others."""
    reservation_name = _named(combinations, "reservation", values)
    reservation = next((one for one in reservations(way, combinations.facts) if one.name == reservation_name), None)
    gpu = _named(combinations, "gpu", values)
    request = Request(constraint=_named(combinations, "constraint", values), gpu=gpu, reservation=reservation)
    for kind in COUNTED:
        if kind in combinations.options:
            option = combinations.options[kind][1]
            at_least = lowest(kind, option, bounds(kind, way, request), gpu=gpu)
            request = replace(request, **{kind: least(kind, option) if at_least is None else at_least})
        else:
            request = replace(request, **{kind: fixed(combinations.profile.resources, kind)})
    return request


class _Amounts(Struct):
    """The amounts by option; see `Settled`."""

    request: Request
    values: dict[str, Any] = {}
    usual: dict[str, Any] = {}
    wrong: dict[str, str] = {}


def _amounts(combinations: Combinations, way: Way, picked: Mapping[str, Any], bare: Request) -> _Amounts:
    """Return all amounts: first the picks, one after the other, then the others within what these leave."""
    made = _Amounts(request=bare)
    counted = [kind for kind in COUNTED if kind in combinations.options]
    for kind in (one for one in counted if one in picked):
        name = combinations.options[kind][0]
        made.values[name] = picked[kind]
        made.request = _take(kind, name, bounds(kind, way, made.request), made, made.request)
    request = made.request
    for kind in counted:
        name, option = combinations.options[kind]
        found = bounds(kind, way, request)
        preferred = _preferred(combinations, kind, option, way, bare.gpu)
        if kind == "memory" and preferred is None and found.most is not None:
            default = default_memory(way.partition, request)
            preferred = default if default is not None and default > found.most.amount else None
        made.usual[name] = _usual_amount(kind, option, found, preferred)
        if kind not in picked:
            made.values[name] = made.usual[name]
            request = _take(kind, name, found, made, request)
    return made


def _take(kind: str, name: str, found: Bounds, amounts: _Amounts, request: Request) -> Request:
    """Return the request with the option's value, or unchanged after recording the error in the value."""
    error = _out_of_bounds(kind, amounts.values[name], found, request.gpu)
    if error is not None:
        amounts.wrong[name] = error
        return request
    number = amount(kind, amounts.values[name])
    return request if number is None else replace(request, **{kind: number})


def _out_of_bounds(kind: str, value: Any, found: Bounds, gpu: str) -> str | None:
    number = amount(kind, value)
    if number is None:
        return None
    if found.most is not None and number > found.most.amount:
        return found.most.why
    if found.least is not None and number < found.least.amount:
        return found.least.why
    if kind == "gpus" and number == 0 and gpu:
        return f"At least 1, because {gpu} was picked."
    return None


def _preferred(combinations: Combinations, kind: str, option: OptionConfig, way: Way, gpu: str) -> int | None:
    """Return the amount that an option would have without limits; None: left to the cluster."""
    usual = amount(kind, option.default) or fixed(combinations.profile.resources, kind)
    if usual is None and kind == "walltime":
        usual = way.partition.default_walltime
    if usual is None and option.values:
        usual = amount(kind, of_entry(kind, option.values[0]))
    if usual is None and (option.minimum is not None or kind not in {"memory", "walltime"}):
        usual = least(kind, option)
    return max(usual or 0, 1) if kind == "gpus" and gpu else usual


def _usual_amount(kind: str, option: OptionConfig, found: Bounds, usual: int | None) -> Any:
    """Return the amount of an option without a pick, within its limits. `""`: the cluster's default."""
    if usual is None and found.least is None:
        return ""
    usual = max(usual or 0, found.least.amount if found.least is not None else 0)
    if option.maximum is not None:
        usual = min(usual, option.maximum * unit(kind))
    shown = [one for entry in option.values if (one := amount(kind, of_entry(kind, entry))) is not None]
    if found.most is not None and usual > found.most.amount:
        usual = max((one for one in shown if one <= found.most.amount), default=found.most.amount)
    if shown and usual not in shown:
        usual = min((one for one in shown if one >= usual), default=max(shown))
    return canonical(kind, max(usual, least(kind, option)))
