"""What pages share about profiles: their fields, the values in them, and where a ready server is opened.

Owns each field as the template shows it. Does not validate: see `state.offer.choices`.
"""

from collections.abc import Collection, Mapping
from typing import Any

from msgspec import Struct

from portal.servers.catalog_facts import is_old, silent_clusters
from portal.site.site import Site
from portal.web.next_url import safe_next
from state.config.tables import OptionConfig, ProfileConfig
from state.errors import ChoicesError
from state.names import server_path
from state.offer.app_ports import SHARED_PORT_NOTE, shares_port
from state.offer.choices import default_of, read
from state.offer.clusters import CLUSTER, has_choice, on_cluster_if_offered, on_picked_cluster
from state.offer.combinations import Facts
from state.offer.fields import Field, offer
from state.offer.option_kinds import canonical, fixed, scheduler_options
from state.plugins.launchers import cluster_named, kind_of
from state.records.models import Server


class FormField(Struct, frozen=True, kw_only=True):
    """One field as it is shown. `control`: select, number, text, check or hidden. `entries`: value, label, selected."""

    id: str
    name: str
    kind: str
    title: str
    control: str
    value: Any = ""
    entries: tuple[tuple[str, str, bool], ...] = ()
    suggestions: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    help: str = ""
    says: str = ""
    error: str = ""
    placeholder: str = ""


class ProfileForm(Struct, frozen=True, kw_only=True):
    """One profile as the form shows it. `problem`: why this user cannot start it, else `""`.

    `known`: whether the cluster's catalog was available; None: this cluster has none. `warning`: what a user must know
    before the start. `clusters`: those that the user can choose from; `silent`: the chosen one, if it does not answer.
    """

    profile: ProfileConfig
    fields: tuple[FormField, ...]
    clusters: tuple[str, ...] = ()
    silent: str = ""
    problem: str = ""
    known: bool | None = None
    time: float | None = None
    old: bool = False
    notes: tuple[str, ...] = ()
    warning: str = ""


def has_options(site: Site) -> bool:
    """Return whether the form has a choice or a warning: several profiles or clusters, options, or a warning."""
    if len(site.config.profile) != 1:
        return True
    (profile,) = site.config.profile
    return has_choice(profile) or bool(profile.option) or shares_port(profile)


def faults_in(profile: ProfileConfig, facts: Facts, picked: Mapping[str, Any]) -> dict[str, str]:
    """Return what is wrong with these choices, by field. `profile`: as configured; `facts`: of the picked cluster."""
    try:
        there, rest = on_picked_cluster(profile, picked)
    except ChoicesError as error:
        return error.fields
    return faults_of(there, facts, rest)


def faults_of(profile: ProfileConfig, facts: Facts, picked: Mapping[str, Any]) -> dict[str, str]:
    """Return what is wrong with these choices, by field."""
    picks, wrong = read(profile, picked)
    return wrong | offer(profile, facts, picks, narrow=False).wrong


def still_good(profile: ProfileConfig, facts: Facts, remembered: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the last choices that are still available."""
    known = {name: value for name, value in remembered.items() if name in profile.option}
    wrong = faults_of(profile, facts, known)
    return {name: value for name, value in known.items() if name not in wrong}


def sheet(
    site: Site,
    configured: ProfileConfig,
    facts: Facts,
    values: Mapping[str, Any],
    errors: Mapping[str, str],
    *,
    editing: bool = False,
) -> ProfileForm:
    """Return the profile with the given values in its fields, and defaults in the others. `errors`: field → message.

    `facts`: of the cluster among the values. `editing`: a server waits there, so the cluster is no choice.
    """
    profile = on_cluster_if_offered(configured, values)
    (name_of_cluster,) = profile.clusters
    silent = silent_clusters(site) if has_choice(configured) else frozenset()
    choice = (
        (_cluster_field(configured, name_of_cluster, silent, errors.get(CLUSTER, "")),)
        if has_choice(configured) and not editing
        else ()
    )
    mine = {name: value for name, value in values.items() if name in profile.option}
    picks, unread = read(profile, mine)
    made = offer(profile, facts, picks, narrow=False)
    cluster = cluster_named(site.config, name_of_cluster)
    unscheduled = cluster is not None and not kind_of(cluster).option_kinds
    return ProfileForm(
        profile=profile,
        clusters=configured.clusters,
        silent=name_of_cluster if name_of_cluster in silent else "",
        fields=choice
        if made.problem
        else (
            *choice,
            *(
                _form_field(
                    f"opt.{profile.name}.{name}",
                    option,
                    made.fields.get(name),
                    mine.get(name) if name in unread else picks.get(name),
                    errors.get(name, ""),
                )
                for name, option in profile.option.items()
            ),
        ),
        problem=made.problem,
        warning=SHARED_PORT_NOTE if shares_port(profile) else "",
        known=None if unscheduled else facts.catalog is not None,
        time=made.time,
        old=made.time is not None and is_old(site, name_of_cluster, made.time),
        notes=made.notes,
    )


def _cluster_field(profile: ProfileConfig, chosen: str, silent: Collection[str], error: str) -> FormField:
    """Return the field for the cluster. One that does not answer can be chosen: the server waits for it."""
    return FormField(
        id=f"opt.{profile.name}.{CLUSTER}",
        name=CLUSTER,
        kind=CLUSTER,
        title="Cluster",
        control="select",
        value=chosen,
        entries=tuple(
            (name, f"{name} (not answering)" if name in silent else name, name == chosen) for name in profile.clusters
        ),
        error=error,
    )


def _form_field(element: str, option: OptionConfig, field: Field | None, picked: Any, error: str) -> FormField:
    """Return the control for an option. `field`: for options that are requests to the scheduler."""
    name = element.rpartition(".")[2]
    common: dict[str, Any] = {
        "id": element,
        "name": name,
        "kind": option.kind,
        "title": option.title or name,
        "help": option.help,
        "error": error,
    }
    if field is not None:
        return _asking(common, field, picked)
    value = default_of(option) if picked is None else picked
    match option.kind:
        case "boolean":
            return FormField(control="check", value=str(value).strip().lower() in {"true", "on", "yes", "1"}, **common)
        case "choice":
            entries = tuple((one, one, one == str(value)) for one in option.values)
            return FormField(control="select", entries=entries, **common)
        case "integer":
            common |= {"minimum": option.minimum, "maximum": option.maximum}
            return FormField(control="number", value=value, says=_range(option), **common)
        case _:
            return FormField(control="text", value=value, **common)


def _asking(common: dict[str, Any], field: Field, picked: Any) -> FormField:
    """Return a field for a request to the scheduler."""
    value = picked if picked is not None and field.entries is None else field.value
    if field.hidden:
        return FormField(control="hidden", value=field.value, **common)
    if field.entries is not None:
        entries = tuple((one.value, one.label, one.value == str(field.value)) for one in field.entries)
        return FormField(control="select", value=field.value, entries=entries, says=field.says, **common)
    if field.kind in {"cores", "gpus", "nodes"}:
        common |= {"minimum": field.minimum, "maximum": field.maximum}
        return FormField(control="number", value=value, says=field.says, **common)
    return FormField(
        control="text",
        value=value,
        suggestions=field.suggestions,
        says=field.says,
        placeholder={"memory": "such as 4G", "walltime": "such as 02:00:00"}.get(field.kind, ""),
        **common,
    )


def _range(option: OptionConfig) -> str:
    if option.help or (option.minimum is None and option.maximum is None):
        return ""
    if option.minimum is None:
        return f"At most {option.maximum}."
    return f"At least {option.minimum}." if option.maximum is None else f"{option.minimum} to {option.maximum}."


def asks_for(site: Site, server: Server) -> list[str]:
    """Return what a server was started with, for a line of facts: `partition gpu`, `1 a100`, `4 cores`, `16G`."""
    profile = site.config.profile_named(server.profile)
    if profile is None:
        return []
    options = scheduler_options(profile)

    def chosen(kind: str) -> Any:
        if kind in options:
            return server.choices.get(options[kind][0])
        raw = fixed(profile.resources, kind)
        return canonical(kind, raw) if isinstance(raw, int) else raw

    parts = [f"{kind} {name}" for kind in ("partition",) if (name := chosen(kind))]
    gpu, gpus = chosen("gpu"), chosen("gpus")
    if gpu or gpus:
        parts.append(f"{gpus or 1} {gpu or ('GPU' if gpus == 1 else 'GPUs')}")
    if cores := chosen("cores"):
        parts.append(f"{cores} core" if cores == 1 else f"{cores} cores")
    if memory := chosen("memory"):
        parts.append(str(memory))
    if (nodes := chosen("nodes")) and nodes != 1:
        parts.append(f"{nodes} nodes")
    return parts


def open_url(site: Site, server: Server, next_url: str) -> str:
    """Return the URL for a ready server: the requested page if it is inside the server, else the app's start page."""
    root = server_path(site.base, server.user, server.name)
    url = safe_next(next_url, site.base)
    if url.startswith(root) and url != root:
        return url
    profile = site.config.profile_named(server.profile)
    return root + (profile.default_path.lstrip("/") if profile else "")
