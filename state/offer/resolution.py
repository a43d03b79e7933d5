"""What picks come to: a value for every field that asks something of the scheduler, or what is wrong beside it.

Owns: defaults that work, and the sentence beside each pick that does not go with the rest. Pure. Refuses to know forms
and how a value is written down (`state.offer.choices`).
"""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from state.config.tables import OptionConfig, ProfileConfig
from state.offer.combinations import Facts, goes, names_of, values_of, ways, why_nothing
from state.offer.limits import Limit, Way, limit
from state.offer.option_kinds import COUNTED, NAMED, Asked, amount, asked, canonical, fixed, least, of_entry, unit


class Settled(Struct, frozen=True, kw_only=True):
    """What picks come to. `way` None: there is none at all. `wrong`: option → sentence. `every`: all ways there are.

    `usual`: what every option would have this way, had it been left alone.
    """

    way: Way | None
    every: tuple[Way, ...]
    values: dict[str, Any]
    usual: dict[str, Any]
    wrong: dict[str, str]


class _Scene(Struct, frozen=True):
    """What every step looks at."""

    profile: ProfileConfig
    options: Asked
    facts: Facts
    every: tuple[Way, ...]


def settle(profile: ProfileConfig, facts: Facts, picks: Mapping[str, Any]) -> Settled:
    """A value for every option that asks something of the scheduler, and what is wrong with the picks, all at once.

    `picks`: option → canonical value, without those that were left alone. What was left alone is chosen so that it goes
    with the rest: the profile's default where that works, else the person's, else the cluster's. A name that is wrong
    has what it would have, had it been left alone.
    """
    scene = _Scene(profile, asked(profile), facts, ways(profile, facts))
    options = scene.options
    if not scene.every:
        where = next((options[kind][0] for kind in ("partition", "account", "gpu") if kind in options), "profile")
        return Settled(way=None, every=(), values={}, usual={}, wrong={where: why_nothing(profile, facts)})
    picked = {kind: picks[name] for kind, (name, _) in options.items() if name in picks}
    way, wrong = _way(scene, picked)
    usual: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for kind, (name, option) in options.items():
        if kind in NAMED:
            usual[name] = _usual_name(scene, kind, option, way)
            values[name] = picked[kind] if kind in picked and name not in wrong else usual[name]
    gpu = values[options["gpu"][0]] if "gpu" in options else fixed(profile.resources, "gpu") or ""
    nodes = 1 if "nodes" in options else fixed(profile.resources, "nodes") or 1
    for kind in COUNTED:  # nodes first: the others are per node
        if kind not in options:
            continue
        name, option = options[kind]
        bound = limit(kind, way, gpu=gpu, nodes=nodes)
        usual[name] = _usual_amount(kind, option, bound, _preferred(scene, kind, option, way, gpu))
        values[name] = picked.get(kind, usual[name])
        said = _too_many(kind, values[name], bound, gpu) if kind in picked else None
        if said is not None:
            wrong[name] = said
        nodes = values[name] if kind == "nodes" and said is None else nodes
    return Settled(way=way, every=scene.every, values=values, usual=usual, wrong=wrong)


# --- names: one after the other, each among what the ones before it leave --------------------------------------------
def _way(scene: _Scene, picked: Mapping[str, Any]) -> tuple[Way, dict[str, str]]:
    left = scene.every
    wrong: dict[str, str] = {}
    for kind in NAMED:
        value = picked.get(kind)
        if not value:
            continue
        fitting = tuple(way for way in left if goes(kind, value, way, scene.facts))
        if not fitting:
            wrong[scene.options[kind][0]] = _why_not(scene, kind, value, left)
        left = fitting or left
    return min(left, key=lambda one: _liking(scene, one)), wrong


def _why_not(scene: _Scene, kind: str, value: str, left: tuple[Way, ...]) -> str:
    """Why no way is left with this pick, and what there is instead."""
    option, facts = scene.options[kind][1], scene.facts
    partitions = names_of(way.partition.name for way in left)
    where = f"partition {partitions[0]}" if len(partitions) == 1 else "this cluster"
    others = [
        name
        for name in names_of(found for way in left for found in values_of(kind, way, facts))
        if not option.values or name in option.values
    ]
    elsewhere = names_of(way.partition.name for way in scene.every if goes(kind, value, way, facts))
    match kind:
        case "partition":
            known = facts.catalog is not None and facts.catalog.partition(value) is not None
            said = f"Partition {value} is not open to you here." if known else f"There is no partition {value} here."
        case "account":
            said = f"Account {value} may not be used in {where}."
        case "qos":
            said = f"QOS {value} may not be used in {where}."
        case "reservation":
            said = f"Reservation {value} is not open to you in {where}."
        case "gpu":
            said = f"There is no {value} for you in {where}"
            said += f"; there is in: {', '.join(elsewhere)}." if elsewhere else "."
        case _:
            said = f"{where[:1].upper()}{where[1:]} does not have the features {value}."
    return f"{said} Pick one of: {', '.join(others)}." if others else said


def _liking(scene: _Scene, way: Way) -> tuple[bool, ...]:
    """The order in which ways are chosen for one who left it open: the smallest first."""

    def preferred(kind: str) -> str:
        usual = scene.options[kind][1].default if kind in scene.options else None
        return usual or fixed(scene.profile.resources, kind) or ""

    return (
        way.partition.name != preferred("partition"),
        not way.partition.up,
        not way.partition.default,
        way.account != preferred("account"),
        way.account != scene.facts.grants.default_account,
        way.qos.name != preferred("qos"),
        way.association is not None and way.qos.name != way.association.default_qos,
    )


def _usual_name(scene: _Scene, kind: str, option: OptionConfig, way: Way) -> str:
    """The name that an option has when it was left alone: one that goes this way."""
    if kind in {"partition", "account", "qos"}:
        return next(iter(values_of(kind, way, scene.facts)))
    usual = option.default or fixed(scene.profile.resources, kind) or ""
    if usual and goes(kind, usual, way, scene.facts):
        return str(usual)
    if not option.values or "" in option.values:
        return ""
    return next((name for name in option.values if goes(kind, name, way, scene.facts)), option.values[0])


# --- amounts: each within what binds this way -------------------------------------------------------------------
def _too_many(kind: str, value: Any, bound: Limit | None, gpu: str) -> str | None:
    number = amount(kind, value)
    if number is not None and bound is not None and number > bound.most:
        return bound.why
    if kind == "gpus" and number == 0 and gpu:
        return f"At least 1, as {gpu} is asked for."
    return None


def _preferred(scene: _Scene, kind: str, option: OptionConfig, way: Way, gpu: str) -> int | None:
    """The amount that an option would have, were there no limit; None: left to the cluster."""
    usual = amount(kind, option.default) or fixed(scene.profile.resources, kind)
    if usual is None and kind == "walltime":
        usual = way.partition.default_walltime
    if usual is None and option.values:
        usual = amount(kind, of_entry(kind, option.values[0]))
    if usual is None and (option.minimum is not None or kind not in {"memory", "walltime"}):
        usual = least(kind, option)
    return max(usual or 0, 1) if kind == "gpus" and gpu else usual


def _usual_amount(kind: str, option: OptionConfig, bound: Limit | None, usual: int | None) -> Any:
    """The amount that an option has when it was left alone: within what binds. `""`: the cluster's default."""
    if usual is None:
        return ""
    if option.maximum is not None:
        usual = min(usual, option.maximum * unit(kind))
    if bound is not None and usual > bound.most:
        shown = [amount(kind, of_entry(kind, entry)) for entry in option.values]
        usual = max((one for one in shown if one is not None and one <= bound.most), default=bound.most)
    return canonical(kind, max(usual, least(kind, option)))
