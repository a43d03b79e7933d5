"""The authenticators (`gateway.auth.contract.Authenticator`)."""

import asyncio
from pathlib import Path

from gateway.auth.contract import Account, GoneError, RefusedError, UnansweredError, UnsureError


class Badge:
    def __init__(self, options, context):
        self.register = Path(options.register)

    async def prove(self, request):
        found = self._accounts().get(request.fields["username"])
        if request.fields["username"] == "hang":
            await asyncio.sleep(3600)
        if request.fields["username"] == "bug":
            raise ZeroDivisionError("a bug of the plug-in")
        if found is None or found[0] != request.fields["password"]:
            raise RefusedError("Badge and password do not match.")
        name = request.fields["username"]
        return Account(name=name, groups=found[1], kept=name, auth_state={"access_token": f"token-of-{name}"})

    async def check(self, kept):
        try:
            accounts = self._accounts()
        except UnansweredError as error:
            raise UnsureError(str(error)) from error
        if kept not in accounts:
            raise GoneError("The badge was returned.")
        return Account(name=kept, groups=accounts[kept][1], kept=kept)

    async def close(self):
        pass

    def _accounts(self):
        try:
            lines = self.register.read_text().splitlines()
        except OSError as error:
            raise UnansweredError("The register cannot be read. Try again later.") from error
        return {name: (password, tuple(groups.split(","))) for name, password, groups in map(str.split, lines)}


class Gate:
    def __init__(self, options, context):
        self.options = options

    async def prove(self, request):
        headers = dict(request.headers)
        if headers.get("x-gate-secret") != self.options.secret:
            raise RefusedError("Come through the gate.")
        return Account(name=headers[self.options.header.lower()])

    async def check(self, kept):
        raise UnsureError("The gate cannot be asked.")

    async def close(self):
        pass
