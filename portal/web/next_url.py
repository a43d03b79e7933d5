r"""Where a page may redirect a browser: never to another site.

Owns one pure decision. Does not know requests or pages. Covers CVE-2019-10255, CVE-2026-33709 and related cases
(`//host`, `/\host`, schemes, user info, control characters, dot segments).
"""

from urllib.parse import quote, unquote

LONGEST = 2048


def safe_next(raw: str | None, base_path: str) -> str:
    """Return `raw` if it is a path under `base_path` on this host, in printable ASCII; else `""`.

    Absolute URLs are rejected even if they name this host, because that depends on headers that an attacker can set.
    Whatever two parsers might interpret differently is rejected, not repaired.
    """
    if not raw or len(raw) > LONGEST or not raw.startswith(base_path):
        return ""
    if any(ord(character) < 0x20 or ord(character) == 0x7F or character == "\\" for character in raw):  # noqa: PLR2004 - ASCII
        return ""
    path = raw.partition("?")[0].partition("#")[0]
    for segment in path.split("/"):
        plain = unquote(unquote(segment))
        odd = "\\" in plain or any(ord(character) < 0x20 for character in plain)  # noqa: PLR2004 - ASCII
        if odd or plain.partition(";")[0] in {".", ".."}:
            return ""
    if unquote(path).startswith("//"):
        return ""
    try:
        return quote(raw, safe="/?#[]@!$&'()*+,;=:%~-._")
    except UnicodeEncodeError:  # a lone surrogate
        return ""
