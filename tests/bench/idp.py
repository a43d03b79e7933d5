"""A minimal identity provider, the same for every hub. Runs in .venv-bench.

`idp.py PORT`. A code is `NAME.NONCE`; the load invents codes, because the user's part of a sign-in is not the hub's. Its
ID tokens are signed with ES256, and its access token for NAME is `NAME`. It checks no secret.
"""

import asyncio
import base64
import hashlib
import json
import sys
import time
from urllib.parse import parse_qs

import uvloop
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

PORT = int(sys.argv[1])
ISSUER = f"http://127.0.0.1:{PORT}"
KEY = ec.generate_private_key(ec.SECP256R1())


def part(value):
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


NUMBERS = KEY.public_key().public_numbers()
JWKS = {
    "keys": [
        {
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "k",
            "x": part(NUMBERS.x.to_bytes(32, "big")), "y": part(NUMBERS.y.to_bytes(32, "big")),
        }
    ]
}  # fmt: skip
DISCOVERY = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
    "userinfo_endpoint": f"{ISSUER}/userinfo",
    "jwks_uri": f"{ISSUER}/jwks",
    "id_token_signing_alg_values_supported": ["ES256"],
}
HEAD = part({"alg": "ES256", "kid": "k", "typ": "JWT"})


def claims_of(name):
    return {"sub": f"id-{name}", "preferred_username": name, "groups": ["physics", "staff"]}


def tokens(code):
    name, _, nonce = code.partition(".")
    now = int(time.time())
    half = part(hashlib.sha256(name.encode()).digest()[:16])
    claims = {"iss": ISSUER, "aud": "bench", "iat": now, "exp": now + 300, "nonce": nonce, "at_hash": half}
    text = f"{HEAD}.{part({**claims, **claims_of(name)})}"
    r, s = decode_dss_signature(KEY.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
    signed = f"{text}.{part(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"
    return {
        "access_token": name, "token_type": "Bearer", "expires_in": 300, "refresh_token": f"r-{name}",
        "id_token": signed, "scope": "openid profile",
    }  # fmt: skip


class Http(asyncio.Protocol):
    """A keep-alive connection."""

    def connection_made(self, transport):
        self.transport = transport
        self.data = b""

    def data_received(self, data):
        self.data += data
        while True:
            end = self.data.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self.data[:end]
            line, *fields = head.split(b"\r\n")
            named = {name.lower(): value.strip() for name, _, value in (field.partition(b":") for field in fields)}
            size = int(named.get(b"content-length", b"0"))
            if len(self.data) < end + 4 + size:
                return
            body, self.data = self.data[end + 4 : end + 4 + size], self.data[end + 4 + size :]
            self.answer(line.split(b" ")[1].partition(b"?")[0], named, body)

    def answer(self, path, named, body):
        if path == b"/token":
            value = tokens(parse_qs(body.decode())["code"][0])
        elif path == b"/userinfo":
            value = claims_of(named[b"authorization"].partition(b" ")[2].decode())
        else:
            value = {b"/jwks": JWKS}.get(path, DISCOVERY)
        text = json.dumps(value).encode()
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)
        )


async def main():
    server = await asyncio.get_running_loop().create_server(Http, "127.0.0.1", PORT)
    await server.serve_forever()


uvloop.run(main())
