"""What a form shows one person of a cluster: for each field what there is, how much of it is free, and what binds.

Owns: the fields of an offer and their words. Pure: (catalog, grants, profile, picks so far) → fields. Refuses to know
HTML, and decides nothing about what goes together: that is `state.offer.combinations`.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct

from state.config.tables import OptionConfig, ProfileConfig
from state.offer.catalog import Catalog, GpuCount, Limits, Partition, Qos
from state.offer.choices import default_of
from state.offer.combinations import Facts, has_type, names_of, unlike, values_of, why_nothing
from state.offer.limits import Way, limit
from state.offer.option_kinds import NAMED, Asked, amount, asked, fixed, least, of_entry, unit, words
from state.offer.quantities import DAY, HOUR, MINUTE, walltime_text, walltime_words
from state.offer.resolution import Settled, settle

TIMES: Final = (
    15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR, 12 * HOUR, DAY, 2 * DAY, 4 * DAY, 7 * DAY,
)  # fmt: skip
"""Walltimes that a form suggests, as far as they are allowed."""
NONE_OF: Final = {"reservation": "None", "constraint": "Any node"}


class Entry(Struct, frozen=True, kw_only=True):
    """One thing to pick: the value, and how it is called."""

    value: str
    label: str


class Field(Struct, frozen=True, kw_only=True):
    """One field. `entries` None: typed in, with `suggestions`. `hidden`: there is nothing to choose.

    `value` is what stands there, `usual` what would stand there had it been left alone; `minimum` and `maximum` are of
    whole numbers; `says` is what there is and which limit binds, in sentences.
    """

    kind: str
    value: Any = ""
    usual: Any = ""
    entries: tuple[Entry, ...] | None = None
    suggestions: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    says: str = ""
    hidden: bool = False


class Offer(Struct, frozen=True, kw_only=True):
    """All of it for one profile. `problem`: why nothing can be started at all, `""`: something can.

    `time`: when the catalog was gathered; None: nothing is known of the cluster yet. `wrong`: field → what is wrong
    with the picks. `notes`: what the catalog could not learn.
    """

    profile: str
    cluster: str
    time: float | None = None
    problem: str = ""
    fields: dict[str, Field]
    wrong: dict[str, str]
    notes: tuple[str, ...] = ()


class _Scene(Struct, frozen=True):
    """What every field looks at."""

    profile: ProfileConfig
    options: Asked
    facts: Facts
    settled: Settled
    way: Way
    narrow: bool


def offer(profile: ProfileConfig, facts: Facts, picks: Mapping[str, Any], *, narrow: bool) -> Offer:
    """The fields that ask something of the scheduler, with these picks (option → canonical value).

    `narrow`: each field shows what goes with the fields before it, as a page with a script wants it; without, all that
    goes at all, so that a page that cannot change shows every choice.
    """
    catalog = facts.catalog
    if catalog is None or not facts.decides:
        fields = {name: _unknown(kind, option, picks.get(name)) for kind, (name, option) in asked(profile).items()}
        time = catalog.time if catalog else None
        return Offer(profile=profile.name, cluster=profile.cluster, time=time, fields=fields, wrong={})
    settled = settle(profile, facts, picks)
    if settled.way is None:
        return Offer(
            profile=profile.name,
            cluster=profile.cluster,
            time=catalog.time,
            problem=why_nothing(profile, facts),
            fields={},
            wrong=settled.wrong,
            notes=catalog.notes,
        )
    scene = _Scene(profile, asked(profile), facts, settled, settled.way, narrow)
    return Offer(
        profile=profile.name,
        cluster=profile.cluster,
        time=catalog.time,
        fields={
            name: _named(scene, kind, name, option) if kind in NAMED else _counted(scene, kind, name, option)
            for kind, (name, option) in scene.options.items()
        },
        wrong=settled.wrong,
        notes=catalog.notes,
    )


def _unknown(kind: str, option: OptionConfig, picked: Any) -> Field:
    """A field while nothing is known of the cluster: the profile's own rules."""
    return Field(
        kind=kind,
        value=default_of(option) if picked is None else picked,
        usual=default_of(option),
        entries=tuple(Entry(value=one, label=one or "None") for one in option.values) if option.values else None,
        minimum=least(kind, option) if kind in {"cores", "gpus", "nodes"} else None,
        maximum=option.maximum if kind in {"cores", "gpus", "nodes"} else None,
    )


# --- names ------------------------------------------------------------------------------------------------------
def _named(scene: _Scene, kind: str, name: str, option: OptionConfig) -> Field:
    way, facts, every = scene.way, scene.facts, unlike(kind, scene.settled.every)
    value, usual = scene.settled.values[name], scene.settled.usual[name]
    among = unlike(kind, (one for one in scene.settled.every if not scene.narrow or _before(kind, one, way))) or [way]
    there = [
        one
        for one in names_of(found for each in among for found in values_of(kind, each, facts))
        if not option.values or one in option.values
    ]
    says = (
        "" if kind == "gpu" and "gpus" in scene.options and not way.partition.gpus else _says(kind, value, way, facts)
    )
    if kind == "constraint" and not option.values:
        return Field(kind=kind, value=value, usual=usual, suggestions=tuple(there), says=says)
    entries = [Entry(value=one, label=_label(kind, one, among, facts)) for one in there]
    if kind in {"gpu", "reservation", "constraint"} and (not option.values or "" in option.values):
        none = "Any, or none" if there else "None"
        entries.insert(0, Entry(value="", label=NONE_OF.get(kind, none)))
    return Field(
        kind=kind,
        value=value,
        usual=usual,
        entries=tuple(entries),
        says=says,
        hidden=len(names_of(found for each in every for found in values_of(kind, each, facts)))
        < (2 if kind in {"account", "qos"} else 1),
    )


def _before(kind: str, one: Way, way: Way) -> bool:
    """Whether a way goes with what the fields before this one have."""
    if kind == "partition":
        return True
    if one.partition.name != way.partition.name:
        return False
    return kind in {"account", "constraint"} or (
        one.account == way.account and (kind == "qos" or one.qos.name == way.qos.name)
    )


def _label(kind: str, value: str, among: list[Way], facts: Facts) -> str:
    catalog = facts.catalog
    assert catalog is not None  # there is a way
    match kind:
        case "partition":
            partition = catalog.partition(value)
            return f"{value}: {_free(partition)}" if partition else value
        case "gpu":
            counts = {
                one.partition.name: count
                for one in among
                for count in one.partition.gpus
                if count.type == value and has_type(one, value)
            }
            if len(counts) == 1:
                return f"{value}: {_of(next(iter(counts.values())))}"
            return f"{value}: {', '.join(f'{_of(count)} in {name}' for name, count in counts.items())}"
        case "reservation":
            found = next(one for one in catalog.reservations if one.name == value)
            return f"{value}: {found.nodes} nodes until {datetime.fromtimestamp(found.end, UTC):%d %B, %H:%M} UTC"
        case _:
            return value


def _free(partition: Partition) -> str:
    """What is free, shortly: GPUs where there are any, else cores."""
    if not partition.up:
        return "starts no jobs just now"
    if partition.gpus:
        return ", ".join(_gpus_free(one) for one in partition.gpus)
    return f"{partition.cores_free} of {partition.cores} cores free"


def _gpus_free(count: GpuCount) -> str:
    return f"{count.free} of {count.total} {count.type or 'GPUs'} free"


def _of(count: GpuCount) -> str:
    return f"{count.free} of {count.total} free"


def _says(kind: str, value: str, way: Way, facts: Facts) -> str:
    match kind:
        case "partition":
            return _of_partition(way.partition, facts)
        case "gpu":
            counts = [one for one in way.partition.gpus if value in {"", one.type} and has_type(way, one.type)]
            if not counts:
                return f"Partition {way.partition.name} has no GPUs for you."
            return f"Partition {way.partition.name}: {', '.join(_gpus_free(one) for one in counts)}."
        case "qos":
            return _of_qos(way.qos)
        case _:
            return ""


def _of_partition(partition: Partition, facts: Facts) -> str:
    catalog: Catalog | None = facts.catalog
    nodes = "node" if partition.nodes == 1 else "nodes"
    parts = [f"{partition.nodes_up} of {partition.nodes} {nodes} up"] if partition.nodes else []
    if partition.cores:
        parts.append(f"{partition.cores_free} of {partition.cores} cores free")
    parts += [_gpus_free(one) for one in partition.gpus]
    told = f"{', '.join(parts)}." if parts else ""
    if not partition.up:
        told = f"Partition {partition.name} starts no jobs just now: yours would wait until it does. {told}"
    elif partition.nodes and not partition.nodes_up:
        told = f"All nodes of partition {partition.name} are down: a job would wait until one is back. {told}"
    if partition.groups is not None and catalog is not None:
        told += f" For members of {' or '.join(partition.groups)} only."
    return told.strip()


def _of_qos(qos: Qos) -> str:
    parts = [*_limits_told(qos.per_job, "one job"), *_limits_told(qos.per_user, "one person")]
    return f"QOS {qos.name}: {', '.join(parts)}." if parts else ""


def _limits_told(limits: Limits, who: str) -> list[str]:
    told = []
    if limits.walltime is not None:
        told.append(walltime_words(limits.walltime))
    told += [f"{number} {noun}" for noun, number in (("cores", limits.cores), ("nodes", limits.nodes)) if number]
    if limits.memory is not None:
        told.append(f"{words('memory', limits.memory)} of memory")
    if limits.gpus is not None:
        told.append(f"{limits.gpus} GPUs")
    told += [f"{number} {gpu}" for gpu, number in limits.gpu_types.items()]
    if limits.running_jobs is not None:
        told.append(f"{limits.running_jobs} running jobs")
    return [f"at most {', '.join(told)} for {who}"] if told else []


# --- amounts ----------------------------------------------------------------------------------------------------
def _counted(scene: _Scene, kind: str, name: str, option: OptionConfig) -> Field:
    settled, narrow = scene.settled, scene.narrow

    def standing(other: str) -> Any:
        return (
            settled.values[scene.options[other][0]] if other in scene.options else fixed(scene.profile.resources, other)
        )

    gpu = standing("gpu") or ""
    nodes = 1 if kind == "nodes" else standing("nodes") or 1
    bound = limit(kind, scene.way, gpu=gpu, nodes=nodes)
    own = None if option.maximum is None else option.maximum * unit(kind)
    most = min((one for one in (own, bound.most if bound else None) if one is not None), default=None)
    says = []
    if kind in {"cores", "gpus", "nodes"} and most:
        says.append(f"{least(kind, option)} to {most}." if most > least(kind, option) else f"{most}.")
    elif own is not None and own == most and (bound is None or own < bound.most):
        says.append(f"At most {words(kind, own)}.")
    if bound is not None and (own is None or bound.most <= own):
        says.append(bound.why)
    entries = None
    if option.values:
        shown = [of_entry(kind, one) for one in option.values]
        fit = [one for one in shown if not narrow or most is None or (amount(kind, one) or 0) <= most]
        entries = tuple(Entry(value=str(one), label=_amount_label(kind, one)) for one in fit or shown)
    whole = kind in {"cores", "gpus", "nodes"}
    return Field(
        kind=kind,
        value=settled.values[name],
        usual=settled.usual[name],
        entries=entries,
        suggestions=_times(option, most) if kind == "walltime" else (),
        minimum=least(kind, option) if whole else None,
        maximum=(most if narrow else option.maximum) if whole else None,
        says=" ".join(says),
        hidden=kind == "gpus" and not any(one.partition.gpus for one in settled.every),
    )


def _amount_label(kind: str, value: Any) -> str:
    number = amount(kind, value)
    return str(value) if number is None else words(kind, number)


def _times(option: OptionConfig, most: int | None) -> tuple[str, ...]:
    fit = [one for one in TIMES if one >= least("walltime", option) and (most is None or one <= most)]
    if most is not None and most not in fit:
        fit.append(most)
    return tuple(walltime_text(one) for one in fit)
