"""What a gateway needs to open streams to an app by SSH: a pass, which the controller makes for one server.

    a gateway -> the server and the gateway's id: "give me a pass"
    the leading controller -> the way to the host, whom to trust there, and certificates for the gateway's own key

A pass contains no secret: the certificates are good for a key that never leaves the gateway, whose holder has proved
to have joined the hub (`state.records.joining`).
"""

from msgspec import Struct


class SshHop(Struct, frozen=True, kw_only=True):
    """One host on the way: a jump host, or the last one, on which the app runs.

    `name` is as in known_hosts, `address` where to connect. `user`: the account. `host_keys`: the trusted keys and
    authorities of this host, as lines of known_hosts. `certificate`: for this account, as OpenSSH writes it.
    """

    name: str
    address: str
    port: int
    user: str
    host_keys: tuple[str, ...]
    certificate: str


class SshPass(Struct, frozen=True, kw_only=True):
    """The way to the app of one server.

    `issued`, `expires`: when it was made, and when the first of its certificates expires (seconds since the epoch).
    `refusal`: a sentence for the user if there is no way; the rest is then empty.
    """

    hops: tuple[SshHop, ...] = ()
    issued: float = 0.0
    expires: float = 0.0
    refusal: str = ""


class SshPassRequest(Struct, frozen=True, kw_only=True):
    """A gateway's request for a pass to an attempt of a server.

    `instead`: when the pass was issued that it replaces, which stays valid until then; None: there is none.
    """

    user: str
    server: str
    attempt: str
    gateway_id: str
    instead: float | None = None
