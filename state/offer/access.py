"""Which combinations of partition, account and QOS a user may use.

Owns the evaluation of allow and deny lists, and the choice of association and QOS. Pure. Does not know whether a job
fits (`state.offer.combinations`).

Sources: slurm.conf(5): AllowAccounts comes before DenyAccounts, AllowQos before DenyQos; from Slurm 23.02 on, both
lists of accounts also apply to the accounts below. Names of accounts ignore the case of ASCII letters only, as in
Slurm (xstrcasecmp).
"""

import string
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

from state.config.tables import ProfileConfig
from state.offer.catalog import Association, Catalog, Grants, Partition, Qos, Reservation
from state.offer.option_kinds import SchedulerOptions, fixed
from state.offer.way import Rules, Way


class Facts(Struct, frozen=True, kw_only=True):
    """What is known about a cluster for one user. `catalog` None: nothing yet; then only the profile's rules apply."""

    catalog: Catalog | None = None
    grants: Grants = Grants()
    user: str = ""

    @property
    def decides(self) -> bool:
        """Whether the catalog limits requests; that of a cluster without a scheduler does not."""
        return self.catalog is not None and (bool(self.catalog.partitions) or self.catalog.queues)


NOTHING_KNOWN: Final = Facts()
_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def allowed_names(profile: ProfileConfig, options: SchedulerOptions, kind: str) -> tuple[str, ...] | None:
    """Return the names that the profile allows; None: all; `()`: it leaves this to the scheduler."""
    if kind in options:
        return options[kind][1].values or None
    own = fixed(profile.resources, kind)
    return (own,) if own else ()


def partitions(profile: ProfileConfig, options: SchedulerOptions, catalog: Catalog) -> Iterable[Partition]:
    """Return the partitions that the profile may use. Hidden ones are offered only if the profile names them."""
    names = allowed_names(profile, options, "partition")
    if names == ():
        usual = catalog.partition("")
        return (usual,) if usual else ()
    if names is None:
        return (one for one in catalog.partitions if not one.hidden)
    return (found for name in names if name and (found := catalog.partition(name)) is not None)


class Door:
    """Finds the ways in which a user may use partitions. Rules that several ways share are created once."""

    def __init__(self, profile: ProfileConfig, options: SchedulerOptions, facts: Facts) -> None:
        assert facts.catalog is not None  # the caller has checked this
        self._catalog = facts.catalog
        self._grants = facts.grants
        self._qos = allowed_names(profile, options, "qos")
        self._accounts = [
            (account, self._catalog.ancestry(account)) for account in _accounts(profile, options, facts.grants)
        ]
        self._by_name = {one.name: one for one in self._catalog.qos}
        self._rules: dict[tuple[str, str, str, str], Rules] = {}

    def ways(self, partition: Partition) -> Iterator[Way]:
        """Yield the combinations of account and QOS with which the user may use a partition."""
        catalog = self._catalog
        if partition.groups is not None and not set(partition.groups) & set(self._grants.groups):
            return
        qos = self._by_name.get(partition.own_qos) if partition.own_qos else None
        own = (qos, partition.name) if qos is not None else None
        if not catalog.enforced:
            yield Way(partition, Rules(own=own))
            return
        for account, ancestry in self._accounts:
            above = tuple(one.name for one in ancestry) if catalog.nested_accounts else ()
            if not lets_in((account, *above), partition.accounts, partition.denied_accounts):
                continue
            association = _association(self._grants, account, partition.name)
            for name in _qos(association, self._qos) if association is not None else ():
                assert association is not None  # as above
                if name in ("", *association.qos) and lets_in((name,), partition.qos, partition.denied_qos):
                    key = (account, association.partition, name, partition.name if own else "")
                    if key not in self._rules:
                        self._rules[key] = Rules(
                            account=account,
                            qos=self._by_name.get(name) or Qos(name=name),
                            association=association,
                            own=own,
                            ancestry=ancestry,
                        )
                    yield Way(partition, self._rules[key], catalog.safe)


def folded(name: str) -> str:
    """Return the name of an account or a QOS as Slurm compares it: ASCII letters in lowercase, all others unchanged."""
    return name.translate(_LOWER)


def lets_in(names: Iterable[str], allowed: tuple[str, ...] | None, denied: tuple[str, ...]) -> bool:
    """Return whether an allow list (None: it does not exist) or else a deny list admits one of these names."""
    mine = {folded(name) for name in names}
    if allowed is not None:
        return bool(mine & {folded(name) for name in allowed})
    return not mine & {folded(name) for name in denied}


def may_use(reservation: Reservation, facts: Facts, accounts: Iterable[str]) -> bool:
    """Return whether the user may use a reservation with these accounts: the user's, and the accounts above it.

    Source: scontrol(1), Users, Groups and Accounts of a reservation: where it lists users and accounts, both must
    match; a list whose names begin with `-` excludes them.
    """
    names = (facts.user, *(f"@{group}" for group in facts.grants.groups))
    return _listed(names, reservation.users) and _listed(map(folded, accounts), map(folded, reservation.accounts))


def _listed(names: Iterable[str], listed: Iterable[str]) -> bool:
    mine, entries = set(names), set(listed)
    denied = {name.removeprefix("-") for name in entries if name.startswith("-")}
    if denied:
        return not mine & denied
    return not entries or bool(mine & entries)


def _accounts(profile: ProfileConfig, options: SchedulerOptions, grants: Grants) -> Iterable[str]:
    names = allowed_names(profile, options, "account")
    if names == ():
        names = (grants.default_account or next((one.account for one in grants.associations), ""),)
    mine = dict.fromkeys(one.account for one in grants.associations)
    if names is None:
        return mine
    permitted = {folded(name) for name in names}
    return (account for account in mine if folded(account) in permitted)


def _association(grants: Grants, account: str, partition: str) -> Association | None:
    """Return the association for this partition, or else the one for all partitions."""
    mine = [one for one in grants.associations if one.account == account and one.partition in {"", partition}]
    return max(mine, key=lambda one: one.partition != "", default=None)


def _qos(association: Association, names: tuple[str, ...] | None) -> tuple[str, ...]:
    if names == () or not association.qos:
        only = association.qos[0] if len(association.qos) == 1 else ""
        return names or (association.default_qos or only,)
    return association.qos if names is None else names
