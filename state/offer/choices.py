"""The validator of the choices for a start, for the form, the API and URLs.

Owns the conversion of a profile, raw values and facts about the cluster to canonical choices or a message per field.
Does not know the source of the values and the effect of a choice. Pure.

Canonical: partition, account, qos, reservation, constraint and gpu are names (`""`: none, or the cluster's default);
gpus, cores and nodes whole numbers; memory `4G` or `512M`, walltime `[D-]HH:MM:SS` (`""`: the cluster decides).
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from state.config.tables import Config, OptionConfig, ProfileConfig
from state.errors import ChoicesError
from state.offer.access import NOTHING_KNOWN, Facts
from state.offer.clusters import on_picked_cluster, with_cluster
from state.offer.combinations import Combinations
from state.offer.option_kinds import ACCOUNTING_NAME, KINDS, amount, canonical, least, of_entry, quantity_text, unit
from state.offer.quantities import memory_of, walltime_of
from state.offer.resolution import settle
from state.records.models import User

TEXT_MAX: Final = 1024
NAME_MAX: Final = 128
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,18}")
_YES: Final = frozenset({"true", "on", "yes", "1"})
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+:-]*", re.ASCII)
_ACCOUNTING_NAME: Final = re.compile(ACCOUNTING_NAME)
_FEATURES: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.]*([&|,][A-Za-z0-9_][A-Za-z0-9_.]*)*", re.ASCII)
"""Features joined by & (and), | or `,` (or); sbatch(1) has more operators, which notebooks do not need."""
_NO: Final = frozenset({"false", "off", "no", "0", ""})


class Chosen(Struct, frozen=True, kw_only=True):
    """A profile's name, the cluster it runs on, and a value for each of its options."""

    profile: str
    cluster: str
    choices: dict[str, Any]
    strip_prefix: bool = False
    cors_origins: tuple[str, ...] = ()


class _WrongError(Exception):
    """One field's message."""


def validate(
    config: Config, profile: str, picked: Mapping[str, Any], user: User, facts: Facts = NOTHING_KNOWN
) -> Chosen:
    """Return the choices of `user`; `profile` `""` is the first. Raises ChoicesError (all fields at once).

    `facts` are those of the picked cluster, for this user. All users may use all profiles.
    """
    found = config.profile_named(profile)
    if found is None:
        raise ChoicesError({"profile": "This profile does not exist on this hub."})
    assert facts.user in {"", user.name}  # otherwise another user's rights would apply
    profile_there, rest = on_picked_cluster(found, picked)
    (cluster,) = profile_there.clusters
    choices = choose(profile_there, rest, facts)
    return Chosen(
        profile=found.name,
        cluster=cluster,
        choices=with_cluster(found, cluster, choices),
        strip_prefix=found.strip_prefix,
        cors_origins=found.cors_origins,
    )


def choose(profile: ProfileConfig, picked: Mapping[str, Any], facts: Facts = NOTHING_KNOWN) -> dict[str, Any]:
    """Return a value for every option of the profile. Raises ChoicesError.

    Values may be typed (API) or text (form, URL); a list with one value counts as that value. An option that is left
    out, or is None, gets its default. An option that the profile does not have is an error.
    """
    picks, wrong = read(profile, picked)
    choices = {name: picks[name] if name in picks else default_of(option) for name, option in profile.option.items()}
    if facts.decides:
        settled = settle(Combinations(profile, facts), picks)
        choices |= settled.values
        wrong = settled.wrong | wrong
    if wrong:
        raise ChoicesError(wrong)
    return choices


def read(profile: ProfileConfig, picked: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the canonical values of the options that were picked, and the errors by field."""
    wrong = {
        str(name)[:64]: f"The profile {profile.name} has no such option."
        for name in picked
        if name not in profile.option
    }
    picks: dict[str, Any] = {}
    for name, option in profile.option.items():
        raw = picked.get(name)
        if isinstance(raw, list | tuple) and len(raw) == 1:
            raw = raw[0]
        if raw is None or _left_alone(option, raw):
            continue
        try:
            picks[name] = value_of(option, raw)
        except _WrongError as error:
            wrong[name] = str(error)
    return picks, wrong


def _left_alone(option: OptionConfig, raw: Any) -> bool:
    """Return whether a field was left empty, and none of its values is empty."""
    return (
        option.kind in KINDS
        and option.kind not in {"gpu", "reservation", "constraint"}
        and isinstance(raw, str)
        and raw.strip() == ""
    )


def default_of(option: OptionConfig) -> Any:  # noqa: PLR0911 - a table in order
    """Return the value of an option without a pick while nothing is known about the cluster."""
    if option.default is not None:
        return value_of(option, option.default) if option.kind in KINDS else option.default
    match option.kind:
        case "integer":
            return option.minimum if option.minimum is not None else min(0, option.maximum or 0)
        case "boolean":
            return False
        case "choice":
            return option.values[0] if option.values else ""
        case kind if kind in KINDS and option.values:
            return of_entry(kind, option.values[0])
        case "gpus" | "cores" | "nodes":
            return least(option.kind, option)
        case "memory" | "walltime" if option.minimum is not None:
            return canonical(option.kind, least(option.kind, option))
        case _:
            return ""


def fault_of(option: OptionConfig, raw: Any) -> str | None:
    """Return the message about an invalid value; None: it is valid."""
    try:
        value_of(option, raw)
    except _WrongError as error:
        return str(error)
    return None


def value_of(option: OptionConfig, raw: Any) -> Any:  # noqa: PLR0911 - a table
    """Return the value in the option's own type."""
    match option.kind:
        case "integer":
            return _integer(option, raw)
        case "boolean":
            return _boolean(raw)
        case "choice":
            text = str(raw) if isinstance(raw, int) and not isinstance(raw, bool) else raw
            if not isinstance(text, str) or text not in option.values:
                raise _WrongError(f"Pick one of: {', '.join(option.values)}.")
            return text
        case "gpus" | "cores" | "nodes":
            return _listed(option, _count(option, raw))
        case "memory" | "walltime":
            return _listed(option, _amount(option, raw))
        case "constraint":
            return _name(option, raw, _FEATURES, "Features are words, joined by & (and) or | (or).")
        case "account" | "qos":
            wrong = "A name has letters, digits, spaces and . _ - + @ : / ( ) only."
            return _name(option, raw, _ACCOUNTING_NAME, wrong)
        case kind if kind in KINDS:
            return _name(option, raw, _NAME, "A name has letters, digits and . _ - + @ : only.")
        case _:
            return _text(option, raw)


def _name(option: OptionConfig, raw: Any, form: re.Pattern[str], wrong: str) -> str:
    """Return a name for the scheduler that cannot be read as an option or as two lines."""
    if not isinstance(raw, str):
        raise _WrongError("A name is needed here.")
    name = raw.strip(" ")
    if name and (len(name) > NAME_MAX or not form.fullmatch(name)):
        raise _WrongError(wrong)
    if option.pattern and name and not re.fullmatch(option.pattern, name):
        raise _WrongError(f"This does not match the required pattern ({option.pattern}).")
    if option.values and name not in option.values:
        raise _WrongError(f"Pick one of: {', '.join(one for one in option.values if one)}.")
    return name


def _count(option: OptionConfig, raw: Any) -> int:
    number = _integer(option, raw)
    floor = least(option.kind, option)
    if number < floor:
        raise _WrongError(f"At least {floor}.")
    return number


def _amount(option: OptionConfig, raw: Any) -> str:
    """Return memory or walltime as canonical text, within the option's own limits."""
    kind = option.kind
    number = (memory_of(raw) if kind == "memory" else walltime_of(raw)) if isinstance(raw, str) else None
    if number is None:
        raise _WrongError(
            "Write a size with its unit, such as 4G or 512M."
            if kind == "memory"
            else "Write hours, minutes and seconds (08:00:00), days before them (1-12:00:00), or such as 8h, 90m, 2d."
        )
    if number < least(kind, option):
        raise _WrongError(f"At least {quantity_text(kind, least(kind, option))}.")
    if option.maximum is not None and number > option.maximum * unit(kind):
        raise _WrongError(f"At most {quantity_text(kind, option.maximum * unit(kind))}.")
    return str(canonical(kind, number))


def _listed(option: OptionConfig, value: Any) -> Any:
    """Return the value if the option has no list of values, or if it is in the list."""
    shown = [of_entry(option.kind, entry) for entry in option.values]
    if shown and amount(option.kind, value) not in [amount(option.kind, one) for one in shown]:
        raise _WrongError(f"Pick one of: {', '.join(str(one) for one in shown)}.")
    return value


def _integer(option: OptionConfig, raw: Any) -> int:
    if isinstance(raw, str) and _INTEGER.fullmatch(raw.strip(" ")):
        raw = int(raw)
    if not isinstance(raw, int) or isinstance(raw, bool):
        raise _WrongError("A whole number is needed here.")
    if option.minimum is not None and raw < option.minimum:
        raise _WrongError(f"At least {option.minimum}.")
    if option.maximum is not None and raw > option.maximum:
        raise _WrongError(f"At most {option.maximum}.")
    return raw


def _boolean(raw: Any) -> bool:
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, str) and raw.strip().lower() in _YES:
        return True
    if isinstance(raw, str) and raw.strip().lower() in _NO:
        return False
    raise _WrongError("Yes or no is needed here.")


def _text(option: OptionConfig, raw: Any) -> str:
    if not isinstance(raw, str):
        raise _WrongError("A text is needed here.")
    if len(raw) > TEXT_MAX or not (raw.isprintable() or raw == ""):
        raise _WrongError(f"At most {TEXT_MAX} printable characters in one line.")
    if option.minimum is not None and len(raw) < option.minimum:
        raise _WrongError(f"At least {option.minimum} characters.")
    if option.maximum is not None and len(raw) > option.maximum:
        raise _WrongError(f"At most {option.maximum} characters.")
    if option.pattern and not re.fullmatch(option.pattern, raw):
        raise _WrongError(f"This does not match the required pattern ({option.pattern}).")
    return raw
