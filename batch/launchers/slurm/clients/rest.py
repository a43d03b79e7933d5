"""Slurm through slurmrestd: the hub needs no root, and no Slurm on its machine.

Owns the paths, the version of the API, and the user of each request. Does not know about HTTP
(`batch.launchers.slurm.clients.rest_http`) and the shapes of JSON (`batch.launchers.slurm.clients.rest_shapes`).

A response with `errors` has failed, whatever its status: 22.05 answers 500 for a partition that does not exist.
"""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

from batch.contract import LauncherError
from batch.launchers.slurm import changes
from batch.launchers.slurm.catalog.rest import RestSource
from batch.launchers.slurm.client import AccountingDisabledError, Job, JobGoneError, Past
from batch.launchers.slurm.clients.rest_http import RestHttp, Tokens
from batch.launchers.slurm.clients.rest_shapes import LEAST, MOST, described, jobs_of, pasts_of
from batch.launchers.slurm.identity import Identity
from batch.launchers.slurm.kind import SlurmConfig
from batch.launchers.slurm.messages.refusals import refused
from batch.launchers.slurm.script import Batch

T = TypeVar("T")
log = logging.getLogger("towpath.slurm")
SPECIFICATIONS: Final = ("/openapi/v3", "/openapi")
FEW: Final = 8
"""Up to this number, jobs are requested one by one, because slurmrestd accepts no list of ids."""
GONE: Final = frozenset({2017, 2021, 2172})
"""slurm_errno.h: the job does not exist, has ended, or does not match the request's conditions."""
CONDITIONAL_KILL: Final = 41
"""From this version of the API on (24.05), a cancel may have conditions."""
NOTHING: Final = frozenset({9003})
"""slurm_errno.h: no such record. This is an empty result, not a failure."""
DISABLED: Final = ("accounting storage is disabled", "slurmdbd is not in use", "accounting storage configured")
DENIED: Final = frozenset({401, 403})
MESSAGE_MAX: Final = 300
NOT_FOUND: Final = 404


def open_client(config: SlurmConfig) -> "RestClient":
    """Reads the key or the token. Raises LauncherError when it cannot be used."""
    return RestClient(config)


class RestClient:
    """See `batch.launchers.slurm.client.Client`."""

    def __init__(self, config: SlurmConfig) -> None:
        self.user = config.rest_user
        self._tokens = Tokens(config)
        self._http = RestHttp(config.rest_url, seconds=config.timeout, ca=config.rest_ca)
        self._version = 0

    async def submit(self, batch: Batch, identity: Identity) -> int:
        """See the Protocol."""
        body = described(batch, await self._api())
        answer = await self._ask("POST", "slurm", "job/submit", user=identity.name, body=body, options=batch.options)
        number = _submitted(answer)
        if not number:
            raise LauncherError("Slurm has not returned a job id.", transient=True, code="no-answer")
        if message := site_words(answer):
            name = dict(batch.options).get("job-name", "-")
            log.info("Slurm has a message about a job: job=%d name=%s message=%r", number, name, message[:MESSAGE_MAX])
        return number

    async def jobs(self, name: str = "") -> list[Job]:
        """See the Protocol. 165 to 190 ms for a thousand."""
        found = _readable(jobs_of, await self._ask("GET", "slurm", "jobs"))
        return [job for job in found if not name or job.name == name]

    async def past(
        self,
        *,
        ids: Sequence[int] = (),
        name: str = "",
        since: float,
        runs: bool = False,  # noqa: ARG002 - slurmrestd always has them
    ) -> list[Past]:
        """See the Protocol. A few jobs are requested one by one."""
        if 0 < len(ids) <= FEW:
            answers = await asyncio.gather(*(self._past(f"job/{number}") for number in ids))
            return [past for answer in answers for past in answer]
        query = {"start_time": f"uts{since:.0f}", **({"job_name": name} if name else {})}
        found = await self._past(f"jobs?{urlencode(query, quote_via=quote)}")
        numbers = set(ids)
        return [past for past in found if (past.facts is not None if not ids else past.id in numbers)]

    async def _past(self, path: str) -> list[Past]:
        return _readable(pasts_of, await self._ask("GET", "slurmdb", path, fine=NOTHING))

    async def cancel(self, job: int, name: str, identity: Identity) -> None:
        """See the Protocol. slurmctld compares name and account; 23.11 and older cannot, so they are read first."""
        if await self._api() >= CONDITIONAL_KILL:
            body = {"jobs": [str(job)], "job_name": name, "user_name": identity.name}
            await self._ask("DELETE", "slurm", "jobs/", user=identity.name, body=body, fine=GONE)
            return
        found = _readable(jobs_of, await self._ask("GET", "slurm", f"job/{job}", user=identity.name, fine=GONE))
        if any((one.id, one.name, one.user) == (job, name, identity.name) for one in found):
            await self._ask("DELETE", "slurm", f"job/{job}", user=identity.name, fine=GONE)

    async def update(self, job: int, name: str, options: Sequence[tuple[str, str]], identity: Identity) -> bool:
        """See the Protocol. slurmrestd only accepts the id, so the job is read right before, as its user."""
        found = _readable(jobs_of, await self._ask("GET", "slurm", f"job/{job}", user=identity.name, fine=GONE))
        if not any((one.id, one.name, one.user) == (job, name, identity.name) for one in found):
            raise JobGoneError
        body = changes.rest_body(options, await self._api())
        answer = await self._ask(
            "POST", "slurm", f"job/{job}", user=identity.name, body=body, fine=GONE, options=options
        )
        if errors_of(answer):
            raise JobGoneError
        return True

    def source(self) -> RestSource:
        """See the Protocol."""

        async def get(service: str, path: str) -> Mapping[str, Any]:
            return await self._ask("GET", service, path)

        return RestSource(get)

    async def close(self) -> None:
        """See the Protocol."""
        await self._http.close()

    async def _api(self) -> int:
        """Return the newest version of the API that both sides know. It is requested once."""
        if not self._version:
            for path in SPECIFICATIONS:
                status, answer = await self._http.ask("GET", path, self._tokens.headers(self.user))
                if status in DENIED:
                    raise _denied()
                if found := newest(answer.get("paths") or {}):
                    self._version = found
                    break
            else:
                raise LauncherError(
                    "Slurm's REST service offers no version of its API that the hub supports.",
                    transient=True,
                    code="config",
                    hint=f"The hub supports 0.0.{LEAST} to 0.0.{MOST} of both slurm and slurmdb.",
                )
        return self._version

    async def _ask(
        self,
        method: str,
        service: str,
        path: str,
        *,
        user: str = "",
        body: Mapping[str, Any] | None = None,
        fine: frozenset[int] = frozenset(),
        options: Iterable[tuple[str, str]] = (),
    ) -> dict[str, Any]:
        whole = f"/{service}/v0.0.{await self._api()}/{path}"
        began = time.monotonic()
        status, answer = await self._http.ask(method, whole, self._tokens.headers(user or self.user), body)
        errors = errors_of(answer)
        numbers = [one.get("error_number", one.get("error_code")) for one in errors]
        if errors and not _submitted(answer) and not fine & {one for one in numbers if isinstance(one, int)}:
            raise _error(errors, numbers, site=site_words(answer), named=dict(options))
        if status in DENIED and not errors:
            raise _denied()
        if status == NOT_FOUND and not answer:
            self._version = 0  # it may have become another
        if not answer:
            seconds = time.monotonic() - began
            message = f"Slurm's REST service has not returned JSON (HTTP {status}, after {seconds:.1f} seconds)."
            raise LauncherError(message, transient=True, code="no-answer")
        return answer


def errors_of(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the errors of the response. Newer versions report a cancel in `status`, by job, beside empty `errors`."""
    errors: list[Mapping[str, Any]] = [one for one in answer.get("errors") or () if isinstance(one, dict)]
    for one in answer.get("status") or ():
        error = one.get("error") if isinstance(one, dict) else None
        if isinstance(error, dict) and error.get("code"):
            errors.append({"error_number": error["code"], "error": error.get("message") or error.get("string")})
    return errors


def _submitted(answer: Mapping[str, Any]) -> int:
    """Return the id of the new job, 0: there is none. An error beside an id is a warning, such as that it must wait."""
    number = answer.get("job_id")
    return number if isinstance(number, int) and not isinstance(number, bool) else 0


def newest(paths: Mapping[str, Any]) -> int:
    """Return the newest version that has jobs in both services and that our shapes support; 0: none."""
    found: dict[str, set[int]] = {"slurm": set(), "slurmdb": set()}
    for path in paths:
        if match := re.fullmatch(r"/(slurm|slurmdb)/v0\.0\.([0-9]+)/jobs/?", path):
            found[match[1]].add(int(match[2]))
    return max((one for one in found["slurm"] & found["slurmdb"] if LEAST <= one <= MOST), default=0)


def site_words(answer: Mapping[str, Any]) -> str:
    """Return the site's message to the user about a submit, whether it was refused or not."""
    message = answer.get("job_submit_user_msg")
    return message if isinstance(message, str) else ""


def _readable(read: Callable[[Mapping[str, Any]], list[T]], answer: Mapping[str, Any]) -> list[T]:
    try:
        return read(answer)
    except ValueError as error:
        raise LauncherError("Slurm's response cannot be read.", transient=True, code="no-answer") from error


def _error(
    errors: Sequence[Mapping[str, Any]], numbers: Sequence[Any], *, site: str, named: Mapping[str, str]
) -> Exception:
    """Return the hub's error, by the first known error number, else by the text. `named`: the job's options."""
    lines = [str(one[key]) for one in errors for key in ("description", "error") if one.get(key)]
    text = "\n".join(lines)
    if any(phrase in text.lower() for phrase in DISABLED):
        return AccountingDisabledError()
    number = next((number for number in numbers if isinstance(number, int) and number), None)
    return refused(text, number=number, site=site, qos=named.get("qos", ""), account=named.get("account", ""))


def _denied() -> LauncherError:
    return LauncherError(
        "Slurm's REST service rejects the hub's token.",
        transient=True,
        code="denied",
        hint="Tell the hub's admins: check the key or the token in [cluster.slurm].",
    )
