"""A fake GitHub that follows GitHub's documentation, with users that a test defines.

Sources: GitHub's pages "Authorizing OAuth apps" (web application flow, PKCE), "Get the authenticated user", "List
organizations for the authenticated user", "List teams for the authenticated user", "Using pagination in the REST API".
"""

import base64
import hashlib
import json
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

CLIENT = "Iv1.0123456789abcdef"
SECRET = "0123456789abcdef0123456789abcdef01234567"


class GitHub:
    """`users`: login → {"id", "orgs": [...], "teams": [(org, slug)...]}. `who`: the login that is signed in."""

    def __init__(self, users, *, prefix=""):
        self.users = users
        self.who = ""
        self.page = 2
        self.asked: list[str] = []
        self._codes: dict[str, dict[str, str]] = {}
        self._tokens: dict[str, str] = {}
        self._prefix = prefix

    def start(self):
        github = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                github.get(self)

            def do_POST(self):
                length = int(self.headers.get("Content-Length", "0"))
                github.post(self, {key: value[0] for key, value in parse_qs(self.rfile.read(length).decode()).items()})

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def stop(self):
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    def forget(self, login):
        """Invalidate the user's tokens, as when the user revokes the app or is suspended."""
        self._tokens = {token: name for token, name in self._tokens.items() if name != login}

    def get(self, handler):
        path, _, query = handler.path.partition("?")
        asked = {key: value[0] for key, value in parse_qs(query).items()}
        self.asked.append(handler.path)
        if path == "/login/oauth/authorize":
            code = secrets.token_hex(10)
            self._codes[code] = {**asked, "login": self.who}
            answer = {"code": code, "state": asked["state"]}
            return self._send(handler, 302, None, Location=f"{asked['redirect_uri']}?{urlencode(answer)}")
        scheme, _, token = handler.headers.get("Authorization", "").partition(" ")
        login = self._tokens.get(token) if scheme == "Bearer" else None
        if login is None:
            return self._send(handler, 401, {"message": "Bad credentials"})
        user = self.users[login]
        api = f"{self._prefix}/api/v3"
        if path == f"{api}/user":
            found = {"login": login, "id": user["id"], "email": f"{login}@users.example", "type": "User"}
            return self._send(handler, 200, found)
        entries = {
            f"{api}/user/orgs": [{"login": org, "id": 1} for org in user.get("orgs", ())],
            f"{api}/user/teams": [
                {"name": slug.title(), "slug": slug, "organization": {"login": org}}
                for org, slug in user.get("teams", ())
            ],
        }.get(path)
        if entries is None:
            return self._send(handler, 404, {"message": "Not Found"})
        page = int(asked.get("page", "1"))
        more = {}
        if len(entries) > page * self.page:
            more["Link"] = f'<{self.url}{path}?page={page + 1}>; rel="next", <{self.url}{path}?page=9>; rel="last"'
        return self._send(handler, 200, entries[(page - 1) * self.page : page * self.page], **more)

    def post(self, handler, form):
        self.asked.append(handler.path)
        if handler.path != "/login/oauth/access_token":
            return self._send(handler, 404, {})
        basic = handler.headers.get("Authorization", "").removeprefix("Basic ")
        known = base64.b64decode(basic).decode() == f"{CLIENT}:{SECRET}"
        if not known:  # GitHub sends errors with status 200
            return self._send(handler, 200, {"error": "incorrect_client_credentials", "error_description": "..."})
        given = self._codes.pop(form.get("code", ""), None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest()).decode()
        if given is None or given["code_challenge"] != challenge.rstrip("="):
            return self._send(handler, 200, {"error": "bad_verification_code", "error_description": "..."})
        token = f"gho_{secrets.token_hex(18)}"
        self._tokens[token] = given["login"]
        return self._send(handler, 200, {"access_token": token, "scope": given["scope"], "token_type": "bearer"})

    def _send(self, handler, status, value, **headers):
        body = b"" if value is None else json.dumps(value).encode()
        handler.send_response(status)
        for name, text in {"Content-Type": "application/json; charset=utf-8", **headers}.items():
            handler.send_header(name, text)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)


def answer_of(url, follow):
    """Return the query with which the fake redirects the browser back; `follow(url)` returns the Location."""
    return {key: value[0] for key, value in parse_qs(urlsplit(follow(url)).query).items()}
