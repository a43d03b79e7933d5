"""Records as a newer version of Towpath writes them."""

import json
from typing import Any

from state.records.models import Server
from state.records.stored import SCHEMA
from state.store import codecs


def by_a_newer_version(server: Server, **unknown: Any) -> Server:
    """Return the server as it is read from a record of the next schema with these unknown fields."""
    fields = {**json.loads(codecs.SERVER.encode(server)), "version": SCHEMA + 1, **unknown}
    return codecs.SERVER.decode(json.dumps(fields).encode())
