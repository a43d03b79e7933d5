"""What the pages share about profiles: which fields there are, what stands in them, where a ready server is opened.

Owns: the names of the form's fields (`opt.PROFILE.NAME`, and JupyterHub's `opt-NAME` in an URL). Refuses to validate:
that is `state.choices`.
"""

from collections.abc import Mapping
from typing import Any

from portal.nexturl import safe_next
from portal.site import Site
from state.choices import default_of
from state.names import server_path
from state.records import Server


def has_options(site: Site) -> bool:
    """Whether there is anything to choose: more than one profile, or a profile with options."""
    return len(site.config.profile) != 1 or bool(site.config.profile[0].option)


def picked_in(fields: Mapping[str, str], profile: str) -> dict[str, str]:
    """The raw values of one profile's options in a form or a query."""
    plain = {key[4:]: value for key, value in fields.items() if key.startswith("opt-") and len(key) > 4}  # noqa: PLR2004
    head = f"opt.{profile}."
    return plain | {key[len(head) :]: value for key, value in fields.items() if key.startswith(head)}


def standing(site: Site, chosen: str, given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What stands in every field of every profile: what was given for the chosen one, defaults elsewhere."""
    return {
        profile.name: {
            name: given.get(name, default_of(option)) if profile.name == chosen else default_of(option)
            for name, option in profile.option.items()
        }
        for profile in site.config.profile
    }


def open_url(site: Site, server: Server, next_url: str) -> str:
    """Where a browser goes when a server is ready: where it wanted to go, if that is inside, else the app's start."""
    root = server_path(site.base, server.user, server.name)
    wanted = safe_next(next_url, site.base)
    if wanted.startswith(root) and wanted != root:
        return wanted
    profile = site.config.profile_named(server.profile)
    return root + (profile.default_path.lstrip("/") if profile else "")
