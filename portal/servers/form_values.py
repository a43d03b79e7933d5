"""Reads the values of a profile's options from a form, a query or a body.

Owns the names of the fields (`opt.PROFILE.NAME`, and JupyterHub's `opt-NAME` in a URL). Pure. Does not validate: that
is `state.offer.choices`.
"""

from collections.abc import Mapping


def picked_in(fields: Mapping[str, str], profile: str) -> dict[str, str]:
    """Return the raw values of one profile's options in a form or a query."""
    plain = {key[4:]: value for key, value in fields.items() if key.startswith("opt-") and len(key) > 4}  # noqa: PLR2004
    head = f"opt.{profile}."
    return plain | {key[len(head) :]: value for key, value in fields.items() if key.startswith(head)}
