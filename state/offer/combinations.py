"""Which partition, account and QOS go together for one person and one profile.

Owns: who is let in where, what there is on each way, and why there may be none. Pure. Refuses to know what was picked.

What cannot work is not there: a way's partition lets its account and QOS in, and its nodes have room for the least
that the profile asks for. Sources: slurm.conf(5) (AllowAccounts before DenyAccounts, AllowQos before DenyQos).
"""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from state.config.tables import ProfileConfig
from state.offer.catalog import Association, Catalog, Grants, Limits, Partition, Qos, Reservation
from state.offer.limits import Way, limit
from state.offer.option_kinds import COUNTED, Asked, asked, fixed, least


class Facts(Struct, frozen=True, kw_only=True):
    """What is known of a cluster for one person. `catalog` None: nothing yet; then a profile's own rules hold alone."""

    catalog: Catalog | None = None
    grants: Grants = Grants()
    user: str = ""

    @property
    def decides(self) -> bool:
        """Whether the catalog says what may be asked for: one of a cluster without a scheduler does not."""
        return self.catalog is not None and (bool(self.catalog.partitions) or self.catalog.queues)


NOTHING_KNOWN: Final = Facts()
NO_LIMITS: Final = Limits()


def ways(profile: ProfileConfig, facts: Facts) -> tuple[Way, ...]:
    """Every way that the person may go with this profile and in which its least request has room."""
    if facts.catalog is None:
        return ()
    options = asked(profile)
    found = []
    rooms: dict[tuple[str, str, str], bool] = {}
    for partition in _partitions(profile, options, facts.catalog):
        for way in _of_partition(partition, profile, options, facts):
            limited = way.association is not None and way.association.limits != NO_LIMITS
            # accounts differ by their limits and by the reservation that a profile may need
            account = way.account if limited or profile.resources.reservation else ""
            alike = (partition.name, way.qos.name, account)
            if alike not in rooms:
                rooms[alike] = _has_room(way, profile, options, facts)
            if rooms[alike]:
                found.append(way)
    return tuple(found)


def _wanted(profile: ProfileConfig, options: Asked, kind: str) -> tuple[str, ...] | None:
    """The names that the profile lets through; None: all; `()`: it leaves this to the scheduler."""
    if kind in options:
        return options[kind][1].values or None
    own = fixed(profile.resources, kind)
    return (own,) if own else ()


def _partitions(profile: ProfileConfig, options: Asked, catalog: Catalog) -> Iterable[Partition]:
    wanted = _wanted(profile, options, "partition")
    if wanted == ():
        usual = catalog.partition("")
        return (usual,) if usual else ()
    if wanted is None:
        return catalog.partitions
    return (found for name in wanted if name and (found := catalog.partition(name)) is not None)


def _of_partition(partition: Partition, profile: ProfileConfig, options: Asked, facts: Facts) -> Iterable[Way]:
    catalog, grants = facts.catalog, facts.grants
    assert catalog is not None  # `ways` asked
    if partition.groups is not None and not set(partition.groups) & set(grants.groups):
        return
    own = catalog.qos_named(partition.own_qos) if partition.own_qos else None
    if not catalog.enforced:
        yield Way(partition=partition, own=own)
        return
    wanted = _wanted(profile, options, "account")
    if wanted == ():
        usual = grants.default_account or next((one.account for one in grants.associations), "")
        wanted = (usual,)
    for account in dict.fromkeys(one.account for one in grants.associations):
        if (wanted is not None and account not in wanted) or not _lets_in(
            account, partition.accounts, partition.denied_accounts
        ):
            continue
        association = _association(grants, account, partition.name)
        if association is None:
            continue
        for name in _qos(association, _wanted(profile, options, "qos")):
            if name in ("", *association.qos) and _lets_in(name, partition.qos, partition.denied_qos):
                yield Way(
                    partition=partition,
                    account=account,
                    qos=catalog.qos_named(name) or Qos(name=name),
                    association=association,
                    own=own,
                )


def _lets_in(name: str, allowed: tuple[str, ...] | None, denied: tuple[str, ...]) -> bool:
    return name in allowed if allowed is not None else name not in denied


def _association(grants: Grants, account: str, partition: str) -> Association | None:
    """The nearest one: for this very partition, else for any."""
    mine = [one for one in grants.associations if one.account == account and one.partition in {"", partition}]
    return max(mine, key=lambda one: one.partition != "", default=None)


def _qos(association: Association, wanted: tuple[str, ...] | None) -> tuple[str, ...]:
    if wanted == () or not association.qos:
        alone = association.qos[0] if len(association.qos) == 1 else ""
        return wanted or (association.default_qos or alone,)
    return association.qos if wanted is None else wanted


def _has_room(way: Way, profile: ProfileConfig, options: Asked, facts: Facts) -> bool:
    """Whether the least that the profile asks for fits, with one of the GPU types and reservations it names."""
    types = _wanted(profile, options, "gpu")
    if types and "" not in types and not any(has_type(way, one) for one in types):
        return False
    reservation = fixed(profile.resources, "reservation") if "reservation" not in options else None
    if reservation and not any(one.name == reservation for one in reservations(way, facts)):
        return False
    gpu = types[0] if types is not None and len(types) == 1 else ""
    nodes = 1
    for kind in COUNTED:
        at_least = least(kind, options[kind][1]) if kind in options else fixed(profile.resources, kind)
        nodes = (at_least or 1) if kind == "nodes" else nodes
        bound = limit(kind, way, gpu=gpu, nodes=nodes)
        if at_least and bound is not None and at_least > bound.most:
            return False
    return True


def has_type(way: Way, gpu: str) -> bool:
    """Whether a GPU of this type is to be had this way."""
    bound = limit("gpus", way, gpu=gpu)
    return any(one.type == gpu for one in way.partition.gpus) and (bound is None or bound.most > 0)


def reservations(way: Way, facts: Facts) -> list[Reservation]:
    """Those that this way may use, and that have not ended."""
    catalog = facts.catalog
    assert catalog is not None  # there is a way
    return [
        one
        for one in catalog.reservations
        if one.end > catalog.time
        and one.partition in {"", way.partition.name}
        and (not (one.users or one.accounts) or facts.user in one.users or way.account in one.accounts)
    ]


def goes(kind: str, value: str, way: Way, facts: Facts) -> bool:
    """Whether a name that was picked is to be had this way."""
    match kind:
        case "partition":
            return way.partition.name == value
        case "account":
            return way.account == value
        case "qos":
            return way.qos.name == value
        case "reservation":
            return any(one.name == value for one in reservations(way, facts))
        case "gpu":
            return has_type(way, value)
        case _:
            named = set(value.replace("|", "&").replace(",", "&").split("&"))
            return not way.partition.features or named <= set(way.partition.features)


def names_of(names: Iterable[str]) -> list[str]:
    """Each once, in order, without empty ones."""
    return [name for name in dict.fromkeys(names) if name]


def unlike(kind: str, some: Iterable[Way]) -> list[Way]:
    """One of those ways for each that differs in what it has for a kind: there may be thousands."""
    found: dict[tuple[str, ...], Way] = {}
    for way in some:
        partition, account = way.partition.name, way.account
        match kind:
            case "partition" | "constraint":
                key: tuple[str, ...] = (partition,)
            case "account":
                key = (account,)
            case "qos":
                key = (way.qos.name,)
            case "reservation":
                key = (partition, account)
            case _:
                limited = way.association is not None and way.association.limits != NO_LIMITS
                key = (partition, way.qos.name, account if limited else "")
        found.setdefault(key, way)
    return list(found.values())


def values_of(kind: str, way: Way, facts: Facts) -> Iterable[str]:
    """The names that a way has for a kind."""
    match kind:
        case "partition":
            return (way.partition.name,)
        case "account":
            return (way.account,)
        case "qos":
            return (way.qos.name,)
        case "reservation":
            return tuple(one.name for one in reservations(way, facts))
        case "gpu":
            return tuple(one.type for one in way.partition.gpus if has_type(way, one.type))
        case _:
            return way.partition.features


def why_nothing(profile: ProfileConfig, facts: Facts) -> str:
    """Why there is no way at all, and whom to ask."""
    catalog = facts.catalog
    ask = "Ask the people who run it."
    if catalog is None:
        return "Nothing is known of this cluster yet. Try again in a minute."
    if not catalog.partitions:
        return f"The cluster {catalog.cluster} has no partition just now. {ask}"
    if catalog.enforced and not facts.grants.associations:
        return f"You have no account on the cluster {catalog.cluster}. Ask the people who run it for one."
    named = fixed(profile.resources, "partition")
    if "partition" not in asked(profile) and named and catalog.partition(named) is None:
        return f"The cluster {catalog.cluster} has no partition {named}, which this profile needs. {ask}"
    meant = [one for one in catalog.partitions if named in {None, "", one.name}]
    if all(one.groups and not set(one.groups) & set(facts.grants.groups) for one in meant):
        groups = names_of(group for one in meant for group in one.groups or ())
        return f"This is for members of {' or '.join(groups)}, and you are not one. {ask}"
    return f"Your account may use no partition of the cluster {catalog.cluster} that fits this profile. {ask}"
