"""What a hook is told, and what it can change: JSON for executables, these values for Python."""

from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import asdict, replace

from batch.contract import JobSpec, Resources, Setup

VERSION: Final = 1


class HookJob(Struct, frozen=True, kw_only=True):
    """The part of a JobSpec that hooks see and can change. It has no secrets."""

    command: tuple[str, ...]
    environment: dict[str, str]
    directory: str
    resources: Resources
    setup: Setup
    start_window: float


class HookEvent(Struct, frozen=True, kw_only=True):
    """One event of one attempt.

    `event`: `before-submit`, `ready` or `ended`. `job`: before the submit only. `native_id`: the cluster's id of the
    job, `""` before the submit. `reason`: how it ended. `auth_state`: what the sign-in left for hooks, such as
    `access_token`; None: nothing, or the hook did not ask for it.
    """

    event: str
    user: str
    server: str
    attempt: str
    cluster: str
    profile: str
    choices: dict[str, Any]
    status: str
    native_id: str = ""
    node: str = ""
    reason: str = ""
    reason_code: str = ""
    exit_code: int | None = None
    job: HookJob | None = None
    auth_state: dict[str, Any] | None = None
    version: int = VERSION


class JobChanges(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is different in the job. In `environment`, None removes a variable; what is not named stays.

    `resources` and `setup`: the fields that differ. `secrets`: texts that are removed from every log.
    """

    command: tuple[str, ...] | UnsetType = UNSET
    environment: dict[str, str | None] | UnsetType = UNSET
    directory: str | UnsetType = UNSET
    resources: dict[str, Any] | UnsetType = UNSET
    setup: dict[str, Any] | UnsetType = UNSET
    start_window: float | UnsetType = UNSET
    secrets: tuple[str, ...] = ()


class HookChanges(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The answer of a hook before a submit. `refuse`: a sentence for the user; the server is not started then.

    `hint`: what the user can do about it.
    """

    job: JobChanges = JobChanges()
    refuse: str = ""
    hint: str = ""


class HookError(Exception):
    """A hook did not do its work, or refused. `str` is a sentence for the user, `hint` what they can do."""

    def __init__(self, message: str, *, hint: str = "", code: str = "hook") -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code


def seen(spec: JobSpec) -> HookJob:
    """Return what hooks see of a job."""
    return HookJob(
        command=spec.command,
        environment=dict(spec.environment),
        directory=spec.directory,
        resources=spec.resources,
        setup=spec.setup,
        start_window=spec.start_window,
    )


def changed(spec: JobSpec, changes: JobChanges) -> JobSpec:
    """Apply changes. Raises msgspec.ValidationError if a value has a wrong type or a field does not exist."""
    fields: dict[str, Any] = {"secrets": (*spec.secrets, *(one for one in changes.secrets if one))}
    if changes.environment is not UNSET:
        merged: dict[str, str | None] = {**spec.environment, **changes.environment}
        fields["environment"] = {name: value for name, value in merged.items() if value is not None}
    for name in ("command", "directory", "start_window"):
        if (value := getattr(changes, name)) is not UNSET:
            fields[name] = value
    for name, kind in (("resources", Resources), ("setup", Setup)):
        overrides = getattr(changes, name)
        if overrides is not UNSET:
            unknown = sorted(set(overrides) - set(kind.__struct_fields__))
            if unknown:
                raise msgspec.ValidationError(f"{name} has no field {unknown[0]}")
            fields[name] = msgspec.convert({**_plain(getattr(spec, name)), **overrides}, kind)
    return replace(spec, **fields)


def _plain(value: Struct) -> dict[str, Any]:
    return {name: item for name, item in asdict(value).items() if item is not None}
