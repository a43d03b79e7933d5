"""JSON, without the standard module, which compiles regular expressions when it is imported."""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"  # RFC 3986, section 2.3


def loads(text: str) -> "Any":
    """Parse a JSON text. Raises ValueError."""
    try:
        from _json import make_scanner
    except ImportError:  # not CPython
        import json

        return json.loads(text)

    class Context:
        strict = True
        object_hook = None
        object_pairs_hook = None
        parse_float = float
        parse_int = int
        parse_constant = float
        memo: "dict[str, str]" = {}

    try:
        return make_scanner(Context)(text.strip(), 0)[0]  # type: ignore[arg-type]
    except StopIteration:
        raise ValueError("no JSON value")


def dumps(value: "Any") -> str:
    """Write None, bool, str, int, float, dict, list and tuple as JSON, in ASCII."""
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        try:
            from _json import encode_basestring_ascii
        except ImportError:
            from json.encoder import encode_basestring_ascii
        return encode_basestring_ascii(value)
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return "{" + ", ".join(dumps(str(key)) + ": " + dumps(item) for key, item in value.items()) + "}"
    return "[" + ", ".join(dumps(item) for item in value) + "]"


def percent_encoded(text: str) -> str:
    """Percent-encode all but RFC 3986's unreserved characters."""
    return "".join(chr(byte) if byte in UNRESERVED else "%%%02X" % byte for byte in os.fsencode(text))
