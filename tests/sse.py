"""Server-sent events as tests read them."""

import json


def events(text):
    """The data of every server-sent event, and its id."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.strip().splitlines())
        if "data" in fields:
            found.append((fields.get("id", ""), json.loads(fields["data"])))
    return found
