"""The line of an edge's configuration that fixes each problem that the check finds."""

from typing import Final

KINDS: Final = ("nginx", "caddy", "envoy", "apache", "haproxy")
_ALL: Final = "docs/edges.md lists what to set."

_LINES: Final[dict[str, dict[str, str]]] = {
    "host": {
        "nginx": "proxy_set_header Host $http_host;",
        "caddy": "remove header_up Host from reverse_proxy",
        "envoy": "remove host_rewrite_* from the route",
        "apache": "ProxyPreserveHost On",
        "haproxy": "remove http-request set-header Host",
    },
    "origin": {
        "nginx": "remove proxy_set_header Origin and Sec-Fetch-Site",
        "caddy": "remove header_up Origin and Sec-Fetch-Site",
        "envoy": "remove origin and sec-fetch-site from request_headers_to_remove",
        "apache": "remove RequestHeader Origin and Sec-Fetch-Site",
        "haproxy": "remove http-request del-header Origin and Sec-Fetch-Site",
    },
    "path": {
        "nginx": "proxy_pass http://127.0.0.1:8000; (no path and no slash at its end)",
        "caddy": "use handle instead of handle_path, and no uri directive",
        "envoy": "normalize_path: false, merge_slashes: false, no prefix_rewrite",
        "apache": "AllowEncodedSlashes NoDecode, MergeSlashes Off, ProxyPass with nocanon and equal paths",
        "haproxy": "remove http-request set-path, replace-path and normalize-uri",
    },
    "forwarded-for": {
        "nginx": "proxy_set_header X-Forwarded-For $remote_addr;",
        "caddy": "remove header_up X-Forwarded-For, and trusted_proxies that are none",
        "envoy": "use_remote_address: true",
        "apache": 'RequestHeader set X-Forwarded-For "expr=%{REMOTE_ADDR}"',
        "haproxy": "http-request set-header X-Forwarded-For %[src]",
    },
    "forwarded-proto": {
        "nginx": "proxy_set_header X-Forwarded-Proto $scheme;",
        "caddy": "remove header_up X-Forwarded-Proto, and trusted_proxies that are none",
        "envoy": "use_remote_address: true",
        "apache": "RequestHeader set X-Forwarded-Proto https",
        "haproxy": "http-request set-header X-Forwarded-Proto https",
    },
    "forwarded-host": {
        "nginx": "proxy_set_header X-Forwarded-Host $http_host;",
        "caddy": "remove header_up X-Forwarded-Host, and trusted_proxies that are none",
        "envoy": 'request_headers_to_add x-forwarded-host "%REQ(:authority)%"',
        "apache": 'RequestHeader set X-Forwarded-Host "expr=%{HTTP_HOST}"',
        "haproxy": "http-request set-header X-Forwarded-Host %[req.hdr(host)]",
    },
    "websocket": {
        "nginx": "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;"
        ' proxy_set_header Connection "upgrade"; (with a map, see docs/edges.md)',
        "envoy": "upgrade_configs: [{ upgrade_type: websocket }]",
        "apache": "ProxyPass with upgrade=websocket",
    },
    "buffering": {
        "nginx": "proxy_buffering off; (and no proxy_ignore_headers X-Accel-Buffering, no gzip of text/event-stream)",
        "caddy": "flush_interval -1",
        "envoy": "remove the buffer and compressor filters from the route",
        "apache": "ProxyPass with flushpackets=on, no mod_deflate for text/event-stream",
        "haproxy": "remove option http-buffer-request and compression of text/event-stream",
    },
    "body": {
        "nginx": "client_max_body_size 0;",
        "caddy": "remove request_body max_size",
        "envoy": "remove the buffer filter, or raise max_request_bytes",
        "apache": "LimitRequestBody 0",
        "haproxy": "remove the http-request deny of large bodies",
    },
    "silence": {
        "nginx": "proxy_read_timeout 1d;",
        "caddy": "remove read_timeout and response_header_timeout from transport http",
        "envoy": "timeout: 0s on the route, stream_idle_timeout: 0s",
        "apache": "ProxyPass with timeout=86400",
        "haproxy": "timeout server 1d",
    },
    "http2": {
        "nginx": "http2 on; (before nginx 1.25.1: listen 443 ssl http2;)",
        "envoy": "alpn_protocols: [h2, http/1.1]",
        "apache": "Protocols h2 http/1.1",
        "haproxy": "bind with alpn h2,http/1.1",
    },
}


def kind_of(server: str) -> str:
    """Return the kind of edge that a Server or Via field names; `""`: unknown."""
    lowered = server.lower()
    return next((kind for kind in KINDS if kind in lowered), "")


def line_for(check: str, kind: str) -> str:
    """Return what to set in this kind of edge; for an unknown kind, what to set in each."""
    lines = _LINES.get(check, {})
    if kind in lines:
        return f"{kind}: {lines[kind]}"
    if not kind and lines:
        return " | ".join(f"{each}: {line}" for each, line in lines.items())
    return _ALL
