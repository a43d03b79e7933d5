"""The API of clusters: what each offers to the caller, and what a profile offers with some choices.

Owns `/towpath/clusters`, `/towpath/catalog/{cluster}`, `/towpath/offer` and their formats. Does not know which choices
can be combined (`state.offer.combinations`), and how a catalog is collected.
"""

from typing import Any

from litestar import MediaType, Request
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct
from msgspec.structs import replace

from portal.rights.access import need_user, signed_in
from portal.servers.catalog_facts import facts_of, is_old
from portal.servers.form_values import picked_in
from portal.site.site import Site
from portal.web.methods import read
from portal.web.responses import arguments
from state.config.tables import OptionConfig, ProfileConfig
from state.errors import NotFoundError
from state.offer.catalog import GpuCount, Limits, NodeKind, Reservation
from state.offer.choices import read as read_picks
from state.offer.clusters import on_picked_cluster
from state.offer.combinations import Facts, names_of, reservations, ways
from state.offer.fields import Offer, offer
from state.offer.option_kinds import NAMED
from state.offer.way import Way


class ClusterShown(Struct):
    """A cluster. `time`: when its catalog was collected (seconds since the epoch); null: there is no catalog yet."""

    name: str
    kind: str
    time: float | None = None
    old: bool = False
    partitions: int = 0
    cores: int = 0
    memory: int = 0
    notes: tuple[str, ...] = ()


class PartitionShown(Struct):
    """A partition that the caller may use, with the accounts and QOS. Memory in bytes, times in seconds."""

    name: str
    state: str
    up: bool
    default: bool
    nodes: int
    nodes_up: int
    nodes_drained: int
    nodes_idle: int
    cores: int
    cores_free: int
    cores_per_node: int
    memory_per_node: int
    kinds: tuple[NodeKind, ...]
    gpus: tuple[GpuCount, ...]
    max_walltime: int | None
    default_walltime: int | None
    min_nodes: int
    max_nodes: int | None
    max_cores_per_node: int | None
    max_memory_per_node: int | None
    max_memory_per_core: int | None
    needs_reservation: bool
    features: tuple[str, ...]
    accounts: list[str]
    qos: list[str]


class QosShown(Struct):
    """A quality of service and its limits."""

    name: str
    priority: int
    needs_reservation: bool
    limits: Limits


class CatalogShown(Struct):
    """The resources of a cluster for one user. `enforced`: whether accounts and QOS must be chosen."""

    cluster: str
    kind: str
    user: str
    time: float | None = None
    old: bool = False
    enforced: bool = False
    default_account: str = ""
    partitions: tuple[PartitionShown, ...] = ()
    qos: tuple[QosShown, ...] = ()
    reservations: tuple[Reservation, ...] = ()
    notes: tuple[str, ...] = ()


def routes(site: Site) -> list[HTTPRouteHandler]:
    """Return the handlers."""

    @read("/towpath/clusters", summary="The clusters of this hub", media_type=MediaType.JSON)
    async def clusters(request: Request[Any, Any, Any]) -> list[ClusterShown]:
        """Return the clusters. All signed-in callers may read them."""
        signed_in(request)
        return [await _cluster(site, one.name, one.kind) for one in site.config.cluster]

    @read("/towpath/catalog/{cluster:str}", summary="What a cluster has for a user", media_type=MediaType.JSON)
    async def catalog(request: Request[Any, Any, Any]) -> CatalogShown:
        """Return the catalog for the caller, or for `user`, whose servers it may start. 404: unknown cluster."""
        cluster = request.path_params["cluster"]
        name = arguments(request).get("user") or signed_in(request).user.name
        _, user = await need_user(site, request, "start:servers", name)
        kind = next((one.kind for one in site.config.cluster if one.name == cluster), None)
        if kind is None:
            raise NotFoundError("This hub has no such cluster.")
        facts = await facts_of(site, cluster, user)
        return _catalog(site, cluster, kind, facts, user.name)

    @read("/towpath/offer", summary="The choices that are compatible with some picks", media_type=MediaType.JSON)
    async def offered(request: Request[Any, Any, Any]) -> Offer:
        """Return the fields of `profile` that request resources from the scheduler, for the caller or for `user`.

        `opt-NAME` are the choices so far: each field shows what can be combined with those before it, and which limit
        applies. `opt-cluster` is the cluster, where the profile names several. 400: it does not name this one.
        """
        query = arguments(request)
        name = query.get("user") or signed_in(request).user.name
        _, user = await need_user(site, request, "start:servers", name)
        profile = site.config.profile_named(query.get("profile", ""))
        if profile is None:
            raise NotFoundError("This profile does not exist on this hub.")
        profile, picked = on_picked_cluster(profile, picked_in(query, profile.name))
        facts = await facts_of(site, profile.clusters[0], user)
        known = {key: raw for key, raw in picked.items() if key in profile.option}
        picks, unread = read_picks(profile, known)
        made = offer(profile, facts, picks, narrow=True)
        return replace(made, wrong=made.wrong | unread)

    return [clusters, catalog, offered]


async def _cluster(site: Site, name: str, kind: str) -> ClusterShown:
    found = await site.store.catalogs.catalog(name)
    if found is None:
        return ClusterShown(name=name, kind=kind)
    return ClusterShown(
        name=name,
        kind=kind,
        time=found.time,
        old=is_old(site, name, found.time),
        partitions=len(found.partitions),
        cores=found.cores,
        memory=found.memory,
        notes=found.notes,
    )


def _catalog(site: Site, cluster: str, kind: str, facts: Facts, user: str) -> CatalogShown:
    found = facts.catalog
    if found is None:
        return CatalogShown(cluster=cluster, kind=kind, user=user)
    everything = ProfileConfig(name="all", cluster=cluster, option={name: OptionConfig(kind=name) for name in NAMED})
    every = ways(everything, facts)
    used = set(names_of(way.qos.name for way in every))
    return CatalogShown(
        cluster=cluster,
        kind=found.kind,
        user=user,
        time=found.time,
        old=is_old(site, cluster, found.time),
        enforced=found.enforced,
        default_account=facts.grants.default_account,
        partitions=tuple(
            _partition([way for way in every if way.partition.name == name])
            for name in names_of(way.partition.name for way in every)
        ),
        qos=tuple(
            QosShown(name=one.name, priority=one.priority, needs_reservation=one.needs_reservation, limits=one.limits)
            for one in found.qos
            if one.name in used
        ),
        reservations=tuple(dict.fromkeys(one for way in every for one in reservations(way, facts))),
        notes=found.notes,
    )


def _partition(mine: list[Way]) -> PartitionShown:
    partition = mine[0].partition
    own = {
        field: getattr(partition, field)
        for field in PartitionShown.__struct_fields__
        if field not in {"accounts", "qos"}
    }
    return PartitionShown(
        **own, accounts=names_of(way.account for way in mine), qos=names_of(way.qos.name for way in mine)
    )
