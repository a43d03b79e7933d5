"""The fields that a form shows to one user of a cluster: their entries, free resources and limits.

Owns the fields of an offer. Pure: (catalog, grants, profile, picks so far) → fields. Does not know about HTML.
`state.offer.combinations` decides which values are compatible.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from state.config.tables import OptionConfig, ProfileConfig
from state.offer import sentences
from state.offer.choices import default_of
from state.offer.combinations import Combinations, Facts, lowest, names_of
from state.offer.limits import Bounds, bounds
from state.offer.maintenance import in_the_way, warning
from state.offer.option_kinds import NAMED, amount, fixed, least, of_entry, scheduler_options, unit
from state.offer.quantities import DAY, HOUR, MINUTE, walltime_text
from state.offer.resolution import Settled, settle
from state.offer.way import Way, amount_text

TIMES: Final = (
    15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR, 12 * HOUR, DAY, 2 * DAY, 4 * DAY, 7 * DAY,
)  # fmt: skip
"""Time limits that a form suggests, as far as they are allowed."""
NONE_OF: Final = {"reservation": "None", "constraint": "Any node"}


class Entry(Struct, frozen=True, kw_only=True):
    """An entry of a field: its value and label."""

    value: str
    label: str


class Field(Struct, frozen=True, kw_only=True):
    """One field. `entries` None: typed in, with `suggestions`. `hidden`: there is nothing to choose.

    `value` is the current value, `usual` the value if the user picks nothing; `minimum` and `maximum` are of
    whole numbers; `says` has sentences about what it offers and which limits apply.
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
    """All fields of one profile. `problem`: why no server can be started; `""`: one can.

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
    """What all fields need."""

    combinations: Combinations
    settled: Settled
    way: Way
    narrow: bool


def offer(profile: ProfileConfig, facts: Facts, picks: Mapping[str, Any], *, narrow: bool) -> Offer:
    """Return the fields that request resources from the scheduler, with these picks (option → canonical value).

    `profile`: on one cluster (`state.offer.clusters`), whose facts these are.

    `narrow`: each field shows what is compatible with the fields before it, for a page with a script; otherwise,
    everything that is possible, so that a page that cannot change shows all choices.
    """
    catalog = facts.catalog
    if catalog is None or not facts.decides:
        fields = {
            name: _unknown(kind, option, picks.get(name)) for kind, (name, option) in scheduler_options(profile).items()
        }
        time = catalog.time if catalog else None
        return Offer(profile=profile.name, cluster=profile.clusters[0], time=time, fields=fields, wrong={})
    return offer_of(Combinations(profile, facts), picks, narrow=narrow)


def offer_of(combinations: Combinations, picks: Mapping[str, Any], *, narrow: bool) -> Offer:
    """Return the same as `offer`, with combinations that are known already."""
    profile, catalog = combinations.profile, combinations.facts.catalog
    assert catalog is not None  # combinations need a catalog
    settled = settle(combinations, picks)
    if settled.way is None:
        return Offer(
            profile=profile.name,
            cluster=profile.clusters[0],
            time=catalog.time,
            problem=next(iter(settled.wrong.values())),
            fields={},
            wrong=settled.wrong,
            notes=catalog.notes,
        )
    scene = _Scene(combinations, settled, settled.way, narrow)
    fields = {
        name: _named(scene, kind, name, option) if kind in NAMED else _counted(scene, kind, name, option)
        for kind, (name, option) in combinations.options.items()
    }
    fields, notes = _with_maintenance(scene, fields)
    return Offer(
        profile=profile.name,
        cluster=profile.clusters[0],
        time=catalog.time,
        fields=fields,
        wrong=settled.wrong,
        notes=(*notes, *catalog.notes),
    )


def _with_maintenance(scene: _Scene, fields: dict[str, Field]) -> tuple[dict[str, Field], tuple[str, ...]]:
    """Say that the server would run into maintenance: at the time limit, else at the partition, else as a note."""
    settled, combinations, partition = scene.settled, scene.combinations, scene.way.partition
    catalog, options = combinations.facts.catalog, combinations.options
    assert catalog is not None  # combinations need a catalog
    name = options["walltime"][0] if "walltime" in options else ""
    limit = amount("walltime", settled.values[name]) if name else fixed(combinations.profile.resources, "walltime")
    found = in_the_way(
        catalog.reservations,
        partition.name,
        own=settled.request.reservation,
        time_limit=limit or partition.default_walltime or partition.max_walltime,
        now=catalog.time,
    )
    if found is None:
        return fields, ()
    within = bounds("walltime", scene.way, settled.request.without("walltime"))
    low = lowest("walltime", options["walltime"][1], within) if name else None
    sentence = warning(found, now=catalog.time, least=low)
    where = name or (options["partition"][0] if "partition" in options else "")
    if not where or fields[where].hidden:
        return fields, (sentence,)
    return fields | {where: replace(fields[where], says=f"{fields[where].says} {sentence}".strip())}, ()


def _unknown(kind: str, option: OptionConfig, picked: Any) -> Field:
    """Return a field while nothing is known about the cluster: only the profile's own rules apply."""
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
    way, combinations, settled = scene.way, scene.combinations, scene.settled
    every = combinations.unlike(kind, combinations.every)
    value, usual = settled.values[name], settled.usual[name]
    before = (one for one in combinations.every if not scene.narrow or _before(kind, one, way))
    among = combinations.unlike(kind, before) or [way]
    gpu = settled.request.gpu if scene.narrow and kind == "constraint" else ""
    available = [
        one
        for one in names_of(found for each in among for found in combinations.values_of(kind, each, gpu=gpu))
        if not option.values or one in option.values
    ]
    counted_apart = kind == "gpu" and "gpus" in combinations.options and not way.partition.gpus
    says = "" if counted_apart else sentences.of_name(kind, value, way, combinations)
    if kind == "constraint" and not option.values:
        return Field(kind=kind, value=value, usual=usual, suggestions=tuple(available), says=says)
    entries = [Entry(value=one, label=sentences.label(kind, one, among, combinations)) for one in available]
    if _may_be_none(scene, kind, option):
        none = "Any, or none" if available else "None"
        entries.insert(0, Entry(value="", label=NONE_OF.get(kind, none)))
    return Field(
        kind=kind,
        value=value,
        usual=usual,
        entries=tuple(entries),
        says=says,
        hidden=not _as_many(
            2 if kind in {"account", "qos"} else 1,
            (found for each in every for found in combinations.values_of(kind, each)),
        ),
    )


def _as_many(number: int, names: Iterable[str]) -> bool:
    """Return whether there are so many different names, looking at no more than needed."""
    found: set[str] = set()
    for name in names:
        found |= {name} - {""}
        if len(found) >= number:
            return True
    return False


def _may_be_none(scene: _Scene, kind: str, option: OptionConfig) -> bool:
    """Return whether the field has an entry for no name."""
    if kind not in {"gpu", "reservation", "constraint"} or (option.values and "" not in option.values):
        return False
    some = [scene.way] if scene.narrow else scene.combinations.unlike(kind, scene.combinations.every)
    return any(scene.combinations.has_room(one, **{kind: ""}) for one in some)


def _before(kind: str, other: Way, way: Way) -> bool:
    """Return whether a way is compatible with the values of the fields before this one."""
    if kind == "partition":
        return True
    if other.partition.name != way.partition.name:
        return False
    return kind == "account" or (other.account == way.account and (kind == "qos" or other.qos.name == way.qos.name))


# --- amounts ----------------------------------------------------------------------------------------------------
def _counted(scene: _Scene, kind: str, name: str, option: OptionConfig) -> Field:
    settled, narrow = scene.settled, scene.narrow
    found = bounds(kind, scene.way, settled.request)
    own = None if option.maximum is None else option.maximum * unit(kind)
    most = min((one for one in (own, found.most.amount if found.most else None) if one is not None), default=None)
    of_type = int(kind == "gpus" and settled.request.gpu != "")
    low = max(least(kind, option), found.least.amount if found.least else 0, of_type)
    entries = None
    if option.values:
        shown = [of_entry(kind, one) for one in option.values]
        fit = [one for one in shown if not narrow or low <= (amount(kind, one) or low) <= (most or low)]
        entries = tuple(Entry(value=str(one), label=_amount_label(kind, one)) for one in fit or shown)
    whole = kind in {"cores", "gpus", "nodes"}
    return Field(
        kind=kind,
        value=settled.values[name],
        usual=settled.usual[name],
        entries=entries,
        suggestions=_times(low, most) if kind == "walltime" else (),
        minimum=(low if narrow else least(kind, option)) if whole else None,
        maximum=(most if narrow else option.maximum) if whole else None,
        says=_range(kind, option, found, low=low, most=most, own=own),
        hidden=kind == "gpus" and not any(one.partition.gpus for one in scene.combinations.every),
    )


def _range(kind: str, option: OptionConfig, found: Bounds, *, low: int, most: int | None, own: int | None) -> str:
    """Return the range of a field, such as `1 to 8.`, and the limits behind it."""
    says = []
    if kind in {"cores", "gpus", "nodes"} and most:
        says.append(f"{low} to {most}." if most > low else f"{most}.")
    elif own is not None and own == most and (found.most is None or own < found.most.amount):
        says.append(f"At most {amount_text(kind, own)}.")
    if found.least is not None and found.least.amount > least(kind, option):
        says.append(found.least.why)
    if found.most is not None and (own is None or found.most.amount <= own):
        says.append(found.most.why)
    return " ".join(says)


def _amount_label(kind: str, value: Any) -> str:
    number = amount(kind, value)
    return str(value) if number is None else amount_text(kind, number).removesuffix(" of memory")


def _times(low: int, most: int | None) -> tuple[str, ...]:
    fit = [one for one in TIMES if one >= low and (most is None or one <= most)]
    if most is not None and most not in fit:
        fit.append(most)
    return tuple(walltime_text(one) for one in fit)
