"""Who is let in where: partitions, accounts and QOS that go together for one user.

Owns the reading of allow and deny lists, and which association and QOS count. Pure. Does not know whether there is
room for a job (`state.offer.combinations`).

Sources: slurm.conf(5): AllowAccounts comes before DenyAccounts, AllowQos before DenyQos; from Slurm 23.02 on, both
lists of accounts hold for the accounts below, too. Names of accounts ignore the case of ASCII letters, as Slurm does
(xstrcasecmp): other letters have no case for it.
"""

import string
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

from state.config.tables import ProfileConfig
from state.offer.catalog import Association, Catalog, Grants, Partition, Qos, Reservation
from state.offer.option_kinds import Asked, fixed
from state.offer.way import Rules, Way


class Facts(Struct, frozen=True, kw_only=True):
    """What is known of a cluster for one user. `catalog` None: nothing yet; then a profile's own rules hold alone."""

    catalog: Catalog | None = None
    grants: Grants = Grants()
    user: str = ""

    @property
    def decides(self) -> bool:
        """Whether the catalog says what may be asked for: one of a cluster without a scheduler does not."""
        return self.catalog is not None and (bool(self.catalog.partitions) or self.catalog.queues)


NOTHING_KNOWN: Final = Facts()
_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def wanted(profile: ProfileConfig, options: Asked, kind: str) -> tuple[str, ...] | None:
    """The names that the profile lets through; None: all; `()`: it leaves this to the scheduler."""
    if kind in options:
        return options[kind][1].values or None
    own = fixed(profile.resources, kind)
    return (own,) if own else ()


def partitions(profile: ProfileConfig, options: Asked, catalog: Catalog) -> Iterable[Partition]:
    """The partitions that the profile may use. A hidden one is offered only where the profile names it."""
    names = wanted(profile, options, "partition")
    if names == ():
        usual = catalog.partition("")
        return (usual,) if usual else ()
    if names is None:
        return (one for one in catalog.partitions if not one.hidden)
    return (found for name in names if name and (found := catalog.partition(name)) is not None)


class Door:
    """Lets a user into partitions. The rules that several ways share are made once."""

    def __init__(self, profile: ProfileConfig, options: Asked, facts: Facts) -> None:
        assert facts.catalog is not None  # who asks has one
        self._catalog = facts.catalog
        self._grants = facts.grants
        self._qos = wanted(profile, options, "qos")
        self._accounts = [
            (account, self._catalog.ancestry(account)) for account in _accounts(profile, options, facts.grants)
        ]
        self._by_name = {one.name: one for one in self._catalog.qos}
        self._rules: dict[tuple[str, str, str, str], Rules] = {}

    def ways(self, partition: Partition) -> Iterator[Way]:
        """Every way into a partition that lets the user in."""
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
    """The name of an account or a QOS as Slurm compares it: ASCII letters in lower case, all others as they are."""
    return name.translate(_LOWER)


def lets_in(names: Iterable[str], allowed: tuple[str, ...] | None, denied: tuple[str, ...]) -> bool:
    """Whether an allow list (None: there is none) or else a deny list lets one of these names in."""
    mine = {folded(name) for name in names}
    if allowed is not None:
        return bool(mine & {folded(name) for name in allowed})
    return not mine & {folded(name) for name in denied}


def may_use(reservation: Reservation, facts: Facts, accounts: Iterable[str]) -> bool:
    """Whether a reservation lets the user in with these accounts: theirs, and those that it is a part of.

    Source: scontrol(1), Users, Groups and Accounts of a reservation: where it lists users and accounts, both must
    match; a list whose names begin with `-` is of those that it does not let in.
    """
    names = (facts.user, *(f"@{group}" for group in facts.grants.groups))
    return _listed(names, reservation.users) and _listed(map(folded, accounts), map(folded, reservation.accounts))


def _listed(names: Iterable[str], listed: Iterable[str]) -> bool:
    mine, wanted_ones = set(names), set(listed)
    denied = {name.removeprefix("-") for name in wanted_ones if name.startswith("-")}
    if denied:
        return not mine & denied
    return not wanted_ones or bool(mine & wanted_ones)


def _accounts(profile: ProfileConfig, options: Asked, grants: Grants) -> Iterable[str]:
    names = wanted(profile, options, "account")
    if names == ():
        names = (grants.default_account or next((one.account for one in grants.associations), ""),)
    mine = dict.fromkeys(one.account for one in grants.associations)
    if names is None:
        return mine
    wanted_ones = {folded(name) for name in names}
    return (account for account in mine if folded(account) in wanted_ones)


def _association(grants: Grants, account: str, partition: str) -> Association | None:
    """The nearest one: for this very partition, else for any."""
    mine = [one for one in grants.associations if one.account == account and one.partition in {"", partition}]
    return max(mine, key=lambda one: one.partition != "", default=None)


def _qos(association: Association, names: tuple[str, ...] | None) -> tuple[str, ...]:
    if names == () or not association.qos:
        alone = association.qos[0] if len(association.qos) == 1 else ""
        return names or (association.default_qos or alone,)
    return association.qos if names is None else names
