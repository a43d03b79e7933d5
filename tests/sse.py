"""Parses server-sent events."""

import json


def events(text):
    """Return (id, data) of every server-sent event in a response."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.strip().splitlines())
        if "data" in fields:
            found.append((fields.get("id", ""), json.loads(fields["data"])))
    return found
