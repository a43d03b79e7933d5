"""One sign-in by PAM, in a process of its own: `python -I -S pam_helper.py SERVICE`, stdlib only.

Owns: libpam, and what its answers mean. Refuses to know the hub.

PAM modules are C code by many hands: they block, and they crash. So this process forks; its child speaks to PAM, and
the parent waits for its word, for its end, or for the time to be over, and then ends all that the child has started.

Standard input: one line of JSON, `{"name", "password", "address", "seconds"}`; with `"again": true` and no password the
account phase alone is asked. When it ends early, nobody waits any more, and the child is ended.

Standard output: one line, `{"verdict": "yes", "name", "uid", "groups"}` (`stays` where no password was asked for),
`{"verdict": "no"}` (authentication failed), `{"verdict": "closed", "code", "why"}` (the account cannot be used here;
the code is PAM's) or `{"verdict": "fault", "why"}` (nobody could tell). `why` is a sentence for the person.

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

NO_JUDGEMENT: Final = frozenset({1, 2, 3, 4, 5, 9, 19, 26, 28, 30, 31})
"""Codes of pam_authenticate that judge nobody: open, symbol, service, system and buffer errors, no information, broken
conversation, abort, unknown module, to be continued."""
CLOSED: Final = {
    12: "The password has run out: change it first.",
    ACCOUNT_EXPIRED: "The account has expired.",
    PERM_DENIED: "The account may not be used here.",
}
RESPONSE_MAX: Final = 511
"""Longest answer to a prompt in bytes (PAM_MAX_RESP_SIZE, with its end)."""
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


class Talk:
    """What is said between us and the modules: one hidden prompt gets the password, and nothing else gets anything."""

    def __init__(self, password: bytes) -> None:
        self.said: list[str] = []
        self.more = ""
        self._libc = ctypes.CDLL(None)
        self._libc.calloc.restype = self._libc.strdup.restype = ctypes.c_void_p
        self._libc.calloc.argtypes = (ctypes.c_size_t, ctypes.c_size_t)
        self._libc.free.argtypes = (ctypes.c_void_p,)
        self._password = password
        self._given = False

    def __call__(self, count: int, messages: Any, responses: Any, _data: Any) -> int:
        """See pam_conv(3). The answers are the module's to free."""
        room = self._libc.calloc(count, ctypes.sizeof(_Response))
        if not room:
            return CONV_ERR
        answers = ctypes.cast(room, ctypes.POINTER(_Response))
        for at in range(count):
            message = messages[at].contents
            text = (message.text or b"").decode("utf-8", "replace").strip()[:SAID_MAX]
            if message.style in {SAYS_ERROR, SAYS_INFO}:
                self.said.append(text)
            elif message.style == PROMPT_HIDDEN and not self._given:
                self._given = True
                answers[at].text = self._libc.strdup(self._password)
            else:
                self.more = text or "something else"
                for given in range(at):
                    self._libc.free(answers[given].text)
                self._libc.free(room)
                return CONV_ERR
        responses[0] = answers
        return SUCCESS


class Transaction:
    """One pam_start, and what is asked of it until pam_end. Raises OSError where there is no libpam."""

    def __init__(self, service: str, asked: Answer, talk: Talk) -> None:
        self._pam = ctypes.CDLL("libpam.so.0")
        self._pam.pam_strerror.restype = ctypes.c_char_p
        self._handle = ctypes.c_void_p()
        # The hub counts failures itself; a delay of PAM's would only keep this process.
        self._no_delay = _DELAY(lambda _code, _microseconds, _data: None)
        self._conversation = _Conversation(_CONVERSE(talk), None)
        self.code = self._pam.pam_start(
            service.encode(), asked["name"].encode(), ctypes.byref(self._conversation), ctypes.byref(self._handle)
        )
        if self.code == SUCCESS:
            self._pam.pam_set_item(self._handle, ITEM_FAIL_DELAY, ctypes.cast(self._no_delay, ctypes.c_void_p))
            self._pam.pam_set_item(self._handle, ITEM_RHOST, asked["address"].encode())

    def authenticate(self) -> int:
        """The code; quick, without a word to the person, and never for an empty password."""
        self.code = self._pam.pam_authenticate(self._handle, SILENT | NO_NULL)
        return int(self.code)

    def account(self) -> int:
        """The code of the account phase, whose words are for the person."""
        self.code = self._pam.pam_acct_mgmt(self._handle, NO_NULL)
        return int(self.code)

    @property
    def told(self) -> str:
        """The last code in PAM's words."""
        return str((self._pam.pam_strerror(self._handle, self.code) or b"").decode("utf-8", "replace"))

    @property
    def user(self) -> str:
        """Who it is after all: modules may change the name."""
        user = ctypes.c_char_p()
        self._pam.pam_get_item(self._handle, ITEM_USER, ctypes.byref(user))
        return (user.value or b"").decode("utf-8", "replace")

    def end(self) -> None:
        """Lets the modules clear away what they hold, such as tickets in files."""
        self._pam.pam_end(self._handle, self.code)


def ask_pam(service: str, asked: Answer) -> Answer:
    """Both phases, authentication and account, in one transaction; or the account phase alone."""
    again = asked.get("again") is True
    password = b"" if again else asked["password"].encode()
    if "\0" in asked["name"] or b"\0" in password or not (again or 0 < len(password) <= RESPONSE_MAX):
        return {"verdict": "no"}
    talk = Talk(password)
    try:
        pam = Transaction(service, asked, talk)
    except OSError:
        return {"verdict": "fault", "why": "This machine has no libpam."}
    if pam.code != SUCCESS:
        return {"verdict": "fault", "why": f"PAM does not start: {pam.told}."}
    try:
        if again:
            told = _allowed(pam, talk)
            return {**told, "verdict": "stays"} if told["verdict"] == "yes" else told
        return _authenticated(pam, talk) or _allowed(pam, talk)
    finally:
        pam.end()


def _authenticated(pam: Transaction, talk: Talk) -> Answer | None:
    """What the authentication phase says against it; None: nothing."""
    code = pam.authenticate()
    if talk.more:
        why = f"PAM asks for more than a password ({talk.more!r}), and this page can only send a password."
        return {"verdict": "closed", "code": code, "why": why}
    if code in NO_JUDGEMENT:
        return {"verdict": "fault", "why": f"PAM could not judge: {pam.told}."}
    return {"verdict": "no"} if code != SUCCESS else None


def _allowed(pam: Transaction, talk: Talk) -> Answer:
    """What the account phase says."""
    talk.said.clear()
    code = pam.account()
    if code != SUCCESS:
        words = " ".join((CLOSED.get(code, CLOSED[PERM_DENIED]), *talk.said))
        return {"verdict": "closed", "code": code, "why": words}
    return _account(pam.user)


def _account(name: str) -> Answer:
    """The Unix account that a name stands for: modules may have changed it."""
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):
        return {
            "verdict": "closed",
            "code": USER_UNKNOWN,
            "why": "There is no Unix account of that name on the hub's machine.",
        }
    groups = []
    for gid in os.getgrouplist(entry.pw_name, entry.pw_gid):
        try:
            groups.append(grp.getgrgid(gid).gr_name)
        except KeyError:
            continue
    return {"verdict": "yes", "name": entry.pw_name, "uid": entry.pw_uid, "groups": sorted(set(groups))}


def _child(service: str, asked: Answer, out: int) -> NoReturn:
    """Its word is a line: what a module has started may hold the pipe open."""
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nothing, number)
        os.write(out, json.dumps(ask_pam(service, asked)).encode() + b"\n")
    finally:
        os._exit(0)


def guarded(service: str, asked: Answer) -> Answer:
    """`ask_pam` in a child, which ends when it has answered, when its time is over, or when nobody waits any more."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    out, child_out = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(out)
        _child(service, asked, child_out)
    os.close(child_out)
    told = _hear(out, time.monotonic() + float(asked["seconds"]))
    status = 0
    if told is not None:  # it is at its end, or there already
        _, status = os.waitpid(pid, 0)
    _end_all()
    if told is None:
        return {"verdict": "fault", "why": "PAM did not answer in time."}
    if not told.endswith(b"\n"):
        how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "without a word"
        return {"verdict": "fault", "why": f"PAM crashed ({how})."}
    answer: Answer = json.loads(told)
    return answer


def _end_all() -> None:
    """End the child and all that it started: each becomes ours when its parent has gone (prctl(2), SUBREAPER)."""
    with contextlib.suppress(ChildProcessError):
        while True:
            for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
            os.waitpid(-1, 0)


def _hear(out: int, end: float) -> bytes | None:
    """What the child has said, up to a line's end or its own; None when the time is over, or nobody waits."""
    told = b""
    while not told.endswith(b"\n"):
        ready, _, _ = select.select([out, 0], [], [], max(0.0, end - time.monotonic()))
        if out in ready:
            part = os.read(out, LINE_MAX)
            if not part:
                return told
            told += part
        elif 0 not in ready or not os.read(0, LINE_MAX):
            return None
    return told


def main() -> int:
    """One request, one answer."""
    if len(sys.argv) != 2:  # noqa: PLR2004 - the program and its one argument
        return 2
    asked = json.loads(sys.stdin.buffer.readline(LINE_MAX))
    sys.stdout.write(json.dumps(guarded(sys.argv[1], asked)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
