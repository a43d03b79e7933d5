"""Turns the observations of a check into findings, in the order in which an admin should fix them. Pure."""

from dataclasses import dataclass
from typing import Final

from gateway.edge.contract import EVENT_PAUSE
from gateway.edge.fixes import kind_of, line_for
from gateway.edge.probe import HUGE, ODD_PATH, SPOOFED_ADDRESS, SPOOFED_HOST, Observed
from gateway.tunnel.public_address import PublicAddress
from state.records.edge import EdgeFinding

DAYS_LEFT: Final = 14
_OK: Final = 200
_TOO_LARGE: Final = 413
_SWITCHED: Final = 101
_GATEWAY_ERRORS: Final = (502, 503, 504)


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What the configuration expects. `own_tls`: browsers connect to the gateway directly, without an edge."""

    netloc: str
    scheme: str
    gateway: str
    own_tls: bool = False


def diagnose(observed: Observed, expected: Expected) -> tuple[EdgeFinding, ...]:
    """Return a finding for each check."""
    url = f"{expected.scheme}://{expected.netloc}"
    if observed.failed:
        text = f"The hub cannot connect to its public address {url}: {observed.failed}."
        fix = (
            "Start the edge, or correct [gateway] public_url. Check that this machine resolves the name as browsers do."
        )
        return (_bad("reach", text, fix),)
    kind = kind_of(observed.server)
    found = [_certificate(observed, url)] if expected.scheme == "https" else []
    if observed.seen is None:
        return (*found, _no_way(observed, expected, kind))
    found += [_host(observed, expected, kind), *_path(observed, kind), *_address(observed, expected, kind)]
    found += [_websocket(observed, kind), _buffering(observed, kind), *_bodies(observed, kind)]
    if observed.silence is not None:
        found.append(_silence(observed, kind))
    if observed.http2 is not None and not expected.own_tls:
        found.append(_http2(observed, kind))
    if observed.user_host is not None:
        found.append(_user_host(observed))
    return tuple(found)


def _good(check: str, text: str) -> EdgeFinding:
    return EdgeFinding(check=check, good=True, text=text)


def _bad(check: str, text: str, fix: str) -> EdgeFinding:
    return EdgeFinding(check=check, good=False, text=text, fix=fix)


def _doubtful(check: str, text: str, fix: str) -> EdgeFinding:
    return EdgeFinding(check=check, good=True, warning=True, text=text, fix=fix)


def _certificate(observed: Observed, url: str) -> EdgeFinding:
    if observed.untrusted:
        return _doubtful(
            "certificate",
            f"This machine does not trust the certificate of {url}: {observed.untrusted}.",
            "If browsers warn too, renew it or send the whole chain. If they trust your own authority,"
            " add it to this machine's trust store.",
        )
    if observed.days_left is not None and observed.days_left < DAYS_LEFT:
        return _doubtful("certificate", f"The certificate ends in {observed.days_left:.0f} days.", "Renew it.")
    return _good("certificate", "trusted")


def _no_way(observed: Observed, expected: Expected, kind: str) -> EdgeFinding:
    """The request was not answered by this hub's gateway."""
    status = observed.status
    if status in _GATEWAY_ERRORS:
        text = f"The edge cannot reach the gateway: it answered {status}."
        return _bad("route", text, f"Let the edge connect to {expected.gateway}, with HTTP and without TLS.")
    if observed.from_hub:
        text = f"The edge changes the path: the hub answered {status} to a path of its own."
        return _bad("path", text, line_for("path", kind))
    if observed.location:
        text = f"The edge redirects the hub's own address ({status} to {observed.location[:200]})."
        return _bad("route", text, "Remove the redirect for this address.")
    if status in (401, 403):
        text = f"The edge asks for a sign-in of its own ({status})."
        return _bad("route", text, "Remove it, or let /hub/api/ and WebSockets pass: programs cannot answer it.")
    if status:
        text = f"Something else answers at the public address ({status})."
        return _bad("route", text, f"Lead it to the gateway at {expected.gateway}.")
    return _bad("route", f"The edge gave no answer: {'; '.join(observed.notes)}.", line_for("", kind))


def _host(observed: Observed, expected: Expected, kind: str) -> EdgeFinding:
    assert observed.seen is not None
    host = observed.seen.host.lower()
    if PublicAddress(f"//{expected.netloc}").host(host) != expected.netloc.lower():
        text = f"The edge changes Host: browsers send {expected.netloc}, the gateway sees {host or 'none'}."
        return _bad("host", text, line_for("host", kind))
    if not observed.seen.own_page:
        text = "The edge changes or removes Origin or Sec-Fetch-Site, so forms and notebooks are refused."
        return _bad("origin", text, line_for("origin", kind))
    return _good("host", "Host and Origin arrive unchanged")


def _path(observed: Observed, kind: str) -> list[EdgeFinding]:
    assert observed.seen is not None
    if observed.seen.target.endswith(f"/{ODD_PATH}"):
        return [_good("path", "paths arrive unchanged")]
    text = (
        f"The edge changes paths: {ODD_PATH!r} arrived as {observed.seen.target.rpartition('edge-check/')[2][:80]!r}."
    )
    return [_bad("path", text, line_for("path", kind))]


def _address(observed: Observed, expected: Expected, kind: str) -> list[EdgeFinding]:
    """Which client address the hub sees, and whether the client can forge it."""
    seen = observed.seen
    assert seen is not None
    if not seen.trusted:
        if expected.own_tls:
            return [_good("address", "browsers connect to the gateway itself")]
        text = f"The hub does not know the addresses of its users: it sees {seen.peer} for all of them."
        return [_bad("address", text, f'towpath.toml, [gateway]: trusted_proxies = ["{seen.peer}"]')]
    last = seen.forwarded_for.rpartition(",")[2].strip()
    if not last:
        text = "The edge does not send X-Forwarded-For: all users share its address."
        return [_bad("address", text, line_for("forwarded-for", kind))]
    found = []
    if last == SPOOFED_ADDRESS:
        text = "The edge passes on the client's own X-Forwarded-For: users can choose the address that the hub sees."
        found.append(_bad("address", text, line_for("forwarded-for", kind)))
    scheme = seen.forwarded_proto.rpartition(",")[2].strip()
    if scheme and scheme != expected.scheme:
        text = (
            f"The edge passes on a client's X-Forwarded-Proto, or says {scheme} where browsers use {expected.scheme}."
        )
        found.append(_bad("scheme", text, line_for("forwarded-proto", kind)))
    if seen.forwarded_host.rpartition(",")[2].strip() == SPOOFED_HOST:
        text = "The edge passes on the client's own X-Forwarded-Host: apps believe it."
        found.append(_bad("forwarded-host", text, line_for("forwarded-host", kind)))
    return found or [_good("address", f"the client's address arrives ({seen.client})")]


def _websocket(observed: Observed, kind: str) -> EdgeFinding:
    if observed.websocket == _SWITCHED:
        return _good("websocket", "WebSockets work")
    answer = (
        f"the answer was {observed.websocket}" if observed.websocket not in (0, 1, None) else "no message came back"
    )
    text = f"The edge does not pass WebSockets on: {answer}. Notebooks cannot reach their kernels."
    return _bad("websocket", text, line_for("websocket", kind))


def _buffering(observed: Observed, kind: str) -> EdgeFinding:
    gap = observed.event_gap
    if gap is None or gap < EVENT_PAUSE / 2:
        text = "The edge holds responses back: progress and the output of apps arrive late, all at once."
        return _bad("buffering", text, line_for("buffering", kind))
    return _good("buffering", "events arrive at once")


def _bodies(observed: Observed, kind: str) -> list[EdgeFinding]:
    if observed.chunk != _OK:
        answer = observed.chunk or "no answer"
        text = (
            f"The edge refuses an upload of 2 MiB ({answer}). JupyterLab cannot upload files or save large notebooks."
        )
        return [_bad("body", text, line_for("body", kind))]
    if observed.huge == _TOO_LARGE:
        text = f"The edge limits the size of uploads (413 to {HUGE // 1024**3} GiB)."
        return [_doubtful("body", text, line_for("body", kind))]
    return [_good("body", "large uploads pass")]


def _silence(observed: Observed, kind: str) -> EdgeFinding:
    if observed.silence == _OK:
        return _good("silence", f"a request may be silent for {observed.silent_for:.0f} s")
    answer = observed.silence or "connection closed"
    text = f"The edge ends a request that is silent for {observed.silent_for:.0f} s ({answer})."
    return _bad("silence", text, line_for("silence", kind))


def _http2(observed: Observed, kind: str) -> EdgeFinding:
    if observed.http2:
        return _good("http2", "HTTP/2 is offered")
    text = "The edge offers no HTTP/2: browsers load pages over six connections at most."
    return _doubtful("http2", text, line_for("http2", kind))


def _user_host(observed: Observed) -> EdgeFinding:
    if not observed.user_host:
        return _good("user-host", "users' hosts lead to the hub")
    return _bad(
        "user-host",
        f"The host of a user does not work: {observed.user_host}.",
        "The edge needs a DNS name, a certificate and a rule for all hosts below [gateway] user_domain.",
    )
