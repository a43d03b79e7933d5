"""One sign-in with PAM, in its own process: `python -I -S pam_helper.py SERVICE`. Uses only the standard library.

Owns the use of libpam, and the meaning of its return codes. Does not know about the hub.

PAM modules are C code by many authors: they block, and they crash. So this process forks: the child calls PAM, and the
parent waits for its answer, its exit or the time limit, and then ends everything that the child has started.

Standard input: one line of JSON, `{"name", "password", "address", "seconds"}`. With `"again": true` and no password
only the account phase runs. If standard input is closed early, nobody is waiting, and the child is ended.

Standard output: one line of JSON. `{"verdict": "yes", "name", "uid", "groups"}`: signed in (`stays` without a
password). `{"verdict": "no"}`: authentication failed. `{"verdict": "closed", "code", "why"}`: the account cannot be
used; `code` is PAM's. `{"verdict": "fault", "why"}`: no decision was possible. `why` is a sentence for the user.

Sources: pam(3), pam_start(3), pam_conv(3), pam_authenticate(3), pam_acct_mgmt(3), pam_fail_delay(3), Linux-PAM 1.5.
"""

import contextlib
import ctypes
import grp
import json
import os
import pwd
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final, NoReturn

SUCCESS: Final = 0
CONV_ERR: Final = 19
SILENT: Final = 0x8000
NO_NULL: Final = 0x1
PERM_DENIED: Final = 6
USER_UNKNOWN: Final = 10
ACCOUNT_EXPIRED: Final = 13
ITEM_USER: Final = 2
ITEM_RHOST: Final = 4
ITEM_FAIL_DELAY: Final = 10
PROMPT_HIDDEN, PROMPT_SHOWN, SAYS_ERROR, SAYS_INFO = 1, 2, 3, 4

UNDECIDED: Final = frozenset({1, 2, 3, 4, 5, 9, 19, 26, 28, 30, 31})
"""Codes of pam_authenticate without a decision: open, symbol, service, system and buffer errors, no information, broken
conversation, abort, unknown module, incomplete."""
CLOSED: Final = {
    12: "The password has expired. Change it first.",
    ACCOUNT_EXPIRED: "The account has expired.",
    PERM_DENIED: "The account cannot be used here.",
}
RESPONSE_MAX: Final = 511
"""Maximum length of a response to a prompt, in bytes (PAM_MAX_RESP_SIZE includes the terminating NUL)."""
SAID_MAX: Final = 200
PR_SET_CHILD_SUBREAPER: Final = 36
LINE_MAX: Final = 64 * 1024

Answer = dict[str, Any]


class _Message(ctypes.Structure):
    _fields_ = (("style", ctypes.c_int), ("text", ctypes.c_char_p))


class _Response(ctypes.Structure):
    _fields_ = (("text", ctypes.c_void_p), ("code", ctypes.c_int))


_CONVERSE = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_int,
    ctypes.POINTER(ctypes.POINTER(_Message)),
    ctypes.POINTER(ctypes.POINTER(_Response)),
    ctypes.c_void_p,
)
_DELAY = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)


class _Conversation(ctypes.Structure):
    _fields_ = (("converse", _CONVERSE), ("data", ctypes.c_void_p))


class PasswordConversation:
    """The conversation function: answers one hidden prompt with the password, and no other prompt."""

    def __init__(self, password: bytes) -> None:
        self.texts: list[str] = []
        self.more = ""
        self._libc = ctypes.CDLL(None)
        self._libc.calloc.restype = self._libc.strdup.restype = ctypes.c_void_p
        self._libc.calloc.argtypes = (ctypes.c_size_t, ctypes.c_size_t)
        self._libc.free.argtypes = (ctypes.c_void_p,)
        self._password = password
        self._answered = False

    def __call__(self, count: int, messages: Any, responses: Any, _data: Any) -> int:
        """See pam_conv(3). The module frees the responses."""
        room = self._libc.calloc(count, ctypes.sizeof(_Response))
        if not room:
            return CONV_ERR
        answers = ctypes.cast(room, ctypes.POINTER(_Response))
        for at in range(count):
            message = messages[at].contents
            text = (message.text or b"").decode("utf-8", "replace").strip()[:SAID_MAX]
            if message.style in {SAYS_ERROR, SAYS_INFO}:
                self.texts.append(text)
            elif message.style == PROMPT_HIDDEN and not self._answered:
                self._answered = True
                answers[at].text = self._libc.strdup(self._password)
            else:
                self.more = text or "another prompt"
                for number in range(at):
                    self._libc.free(answers[number].text)
                self._libc.free(room)
                return CONV_ERR
        responses[0] = answers
        return SUCCESS


class Transaction:
    """A PAM transaction, from pam_start to pam_end. Raises OSError if there is no libpam."""

    def __init__(self, service: str, request: Answer, talk: PasswordConversation) -> None:
        self._pam = ctypes.CDLL("libpam.so.0")
        self._pam.pam_strerror.restype = ctypes.c_char_p
        self._handle = ctypes.c_void_p()
        # The hub throttles failures itself; PAM's delay would only keep this process running.
        self._no_delay = _DELAY(lambda _code, _microseconds, _data: None)
        self._conversation = _Conversation(_CONVERSE(talk), None)
        self.code = self._pam.pam_start(
            service.encode(), request["name"].encode(), ctypes.byref(self._conversation), ctypes.byref(self._handle)
        )
        if self.code == SUCCESS:
            self._pam.pam_set_item(self._handle, ITEM_FAIL_DELAY, ctypes.cast(self._no_delay, ctypes.c_void_p))
            self._pam.pam_set_item(self._handle, ITEM_RHOST, request["address"].encode())

    def authenticate(self) -> int:
        """Run the authentication phase and return its code: no delay, no messages, and no empty password."""
        self.code = self._pam.pam_authenticate(self._handle, SILENT | NO_NULL)
        return int(self.code)

    def account(self) -> int:
        """Run the account phase and return its code. Its messages are for the user."""
        self.code = self._pam.pam_acct_mgmt(self._handle, NO_NULL)
        return int(self.code)

    @property
    def message(self) -> str:
        """PAM's message for the last code."""
        return str((self._pam.pam_strerror(self._handle, self.code) or b"").decode("utf-8", "replace"))

    @property
    def user(self) -> str:
        """The name of the user, which modules may have changed."""
        user = ctypes.c_char_p()
        self._pam.pam_get_item(self._handle, ITEM_USER, ctypes.byref(user))
        return (user.value or b"").decode("utf-8", "replace")

    def end(self) -> None:
        """End the transaction, so that modules can clean up, for example tickets in files."""
        self._pam.pam_end(self._handle, self.code)


def ask_pam(service: str, request: Answer) -> Answer:
    """Run authentication and account phase in one transaction, or with `again` only the account phase."""
    again = request.get("again") is True
    password = b"" if again else request["password"].encode()
    if "\0" in request["name"] or b"\0" in password or not (again or 0 < len(password) <= RESPONSE_MAX):
        return {"verdict": "no"}
    talk = PasswordConversation(password)
    try:
        pam = Transaction(service, request, talk)
    except OSError:
        return {"verdict": "fault", "why": "This machine has no libpam."}
    if pam.code != SUCCESS:
        return {"verdict": "fault", "why": f"PAM cannot be started: {pam.message}."}
    try:
        if again:
            answer = _check_account(pam, talk)
            return {**answer, "verdict": "stays"} if answer["verdict"] == "yes" else answer
        return _authenticate(pam, talk) or _check_account(pam, talk)
    finally:
        pam.end()


def _authenticate(pam: Transaction, talk: PasswordConversation) -> Answer | None:
    """Run the authentication phase and return the refusal, or None on success."""
    code = pam.authenticate()
    if talk.more:
        why = f"PAM asks for more than a password ({talk.more!r}), and this page can only send a password."
        return {"verdict": "closed", "code": code, "why": why}
    if code in UNDECIDED:
        return {"verdict": "fault", "why": f"PAM could not check the password: {pam.message}."}
    return {"verdict": "no"} if code != SUCCESS else None


def _check_account(pam: Transaction, talk: PasswordConversation) -> Answer:
    """Run the account phase and return the answer."""
    talk.texts.clear()
    code = pam.account()
    if code != SUCCESS:
        why = " ".join((CLOSED.get(code, CLOSED[PERM_DENIED]), *talk.texts))
        return {"verdict": "closed", "code": code, "why": why}
    return _unix_account(pam.user)


def _unix_account(name: str) -> Answer:
    """Return the answer with the Unix account of this name."""
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):
        return {
            "verdict": "closed",
            "code": USER_UNKNOWN,
            "why": "There is no Unix account with this name on the hub's machine.",
        }
    groups = []
    for gid in os.getgrouplist(entry.pw_name, entry.pw_gid):
        try:
            groups.append(grp.getgrgid(gid).gr_name)
        except KeyError:
            continue
    return {"verdict": "yes", "name": entry.pw_name, "uid": entry.pw_uid, "groups": sorted(set(groups))}


def _child(service: str, request: Answer, out: int) -> NoReturn:
    """Call PAM and write the answer as a line. A process that a module has started may keep the pipe open."""
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nothing, number)
        os.write(out, json.dumps(ask_pam(service, request)).encode() + b"\n")
    finally:
        os._exit(0)


def ask_in_child(service: str, request: Answer) -> Answer:
    """Run `ask_pam` in a child. It is ended after its answer, after the time limit, or when nobody is waiting."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    out, child_out = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(out)
        _child(service, request, child_out)
    os.close(child_out)
    line = _read_answer(out, time.monotonic() + float(request["seconds"]))
    status = 0
    if line is not None:  # the child has exited or is about to
        _, status = os.waitpid(pid, 0)
    _kill_children()
    if line is None:
        return {"verdict": "fault", "why": "PAM did not answer in time."}
    if not line.endswith(b"\n"):
        how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "no answer"
        return {"verdict": "fault", "why": f"PAM crashed ({how})."}
    answer: Answer = json.loads(line)
    return answer


def _kill_children() -> None:
    """Kill the child and everything it started: orphans become this process's children (prctl(2), SUBREAPER)."""
    with contextlib.suppress(ChildProcessError):
        while True:
            for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
            os.waitpid(-1, 0)


def _read_answer(out: int, end: float) -> bytes | None:
    """Return the child's output up to a line end or its exit, or None after the time limit or if nobody is waiting."""
    answer = b""
    while not answer.endswith(b"\n"):
        ready, _, _ = select.select([out, 0], [], [], max(0.0, end - time.monotonic()))
        if out in ready:
            part = os.read(out, LINE_MAX)
            if not part:
                return answer
            answer += part
        elif 0 not in ready or not os.read(0, LINE_MAX):
            return None
    return answer


def main() -> int:
    """Read one request and write its answer."""
    if len(sys.argv) != 2:  # noqa: PLR2004 - the program and its argument
        return 2
    request = json.loads(sys.stdin.buffer.readline(LINE_MAX))
    sys.stdout.write(json.dumps(ask_in_child(sys.argv[1], request)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
