"""The one validator of what somebody picked for a start: form, API and URL come through here.

Owns: from a profile and raw values to choices, or a message beside each field. Refuses to know where the values
come from and what a choice does. Pure.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from msgspec import Struct

from state.config import Config, OptionConfig, ProfileConfig
from state.errors import ChoicesError
from state.records import User

TEXT_MAX: Final = 1024
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,18}")
_YES: Final = frozenset({"true", "on", "yes", "1"})
_NO: Final = frozenset({"false", "off", "no", "0", ""})


class Chosen(Struct, frozen=True, kw_only=True):
    """A profile's name, the cluster it runs on, and a value for each of its options."""

    profile: str
    cluster: str
    choices: dict[str, Any]


class _WrongError(Exception):
    """One field's message."""


def validate(config: Config, profile: str, picked: Mapping[str, Any], user: User) -> Chosen:  # noqa: ARG001
    """What `user` gets for what they picked; `profile` `""` is the first. Raises ChoicesError (all fields at once).

    Every profile is open to every user so far; who may pick what will be asked here, for form, API and URL alike.
    """
    found = config.profile_named(profile)
    if found is None:
        raise ChoicesError({"profile": "There is no such profile on this hub."})
    return Chosen(profile=found.name, cluster=found.cluster, choices=choose(found, picked))


def choose(profile: ProfileConfig, picked: Mapping[str, Any]) -> dict[str, Any]:
    """A value for every option of the profile. Raises ChoicesError.

    Values may be typed (API) or text (form, URL); a list of one stands for the one. An option that is left out, or
    is None, gets its default. An option that the profile does not have is an error.
    """
    wrong = {
        str(name)[:64]: f"The profile {profile.name} has no such option."
        for name in picked
        if name not in profile.option
    }
    choices: dict[str, Any] = {}
    for name, option in profile.option.items():
        raw = picked.get(name)
        if isinstance(raw, list | tuple) and len(raw) == 1:
            raw = raw[0]
        try:
            choices[name] = default_of(option) if raw is None else value_of(option, raw)
        except _WrongError as error:
            wrong[name] = str(error)
    if wrong:
        raise ChoicesError(wrong)
    return choices


def default_of(option: OptionConfig) -> Any:
    """The value of an option that was left alone."""
    if option.default is not None:
        return option.default
    match option.kind:
        case "integer":
            return option.minimum if option.minimum is not None else min(0, option.maximum or 0)
        case "boolean":
            return False
        case "choice":
            return option.values[0] if option.values else ""
        case _:
            return ""


def fault_of(option: OptionConfig, raw: Any) -> str | None:
    """What is wrong with a value, in words; None: nothing."""
    try:
        value_of(option, raw)
    except _WrongError as error:
        return str(error)
    return None


def value_of(option: OptionConfig, raw: Any) -> Any:
    """The value in the option's own type."""
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
        case _:
            return _text(option, raw)


def _integer(option: OptionConfig, raw: Any) -> int:
    if isinstance(raw, str) and _INTEGER.fullmatch(raw.strip()):
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
        raise _WrongError(f"This does not have the form that is asked for ({option.pattern}).")
    return raw
