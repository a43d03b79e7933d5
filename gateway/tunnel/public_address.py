"""The address of the hub as browsers use it: `public_url` decides, whatever an edge proxy does to Host. Pure."""

from urllib.parse import urlsplit


class PublicAddress:
    """The address of one hub. Without a `public_url`, each request shows how it reached the hub."""

    __slots__ = ("_name", "_port", "_suffix", "scheme")

    def __init__(self, public_url: str = "", user_domain: str = "") -> None:
        """`user_domain`: the domain in which every user's servers have their own host; empty: there is none."""
        parts = urlsplit(public_url)
        self.scheme = parts.scheme
        self._port = f":{parts.port}" if parts.port else ""
        self._name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
        self._suffix = f".{user_domain}" if user_domain else ""

    def host(self, host: str) -> str:
        """Return a Host header's value as a browser has sent it.

        For a host of this hub that is the port of `public_url`: proxies drop it, or put their own there.
        """
        if not self._name:
            return host
        lower = host.lower()
        name = lower[: lower.find("]") + 1] if lower.startswith("[") else lower.partition(":")[0]
        if name == self._name or (self._suffix and name.endswith(self._suffix)):
            return name + self._port
        return host
