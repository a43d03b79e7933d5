"""Which accounts may have jobs."""

import os
import pwd

import pytest

from batch.contract import LauncherError
from batch.launchers.slurm.identity import identity_of, same_user


def account(name="alice", uid=2000, gid=2000, home="/home/alice", shell="/bin/bash"):
    return pwd.struct_passwd((name, "x", uid, gid, "", home, shell))


@pytest.fixture(autouse=True)
def _groups(monkeypatch):
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid, 3000])


def ask(user="alice", answer=None, **more):
    return identity_of(user, lookup=lambda name: answer or account(), **more)


def test_a_persons_account_is_what_setuid_needs():
    found = ask()
    assert (found.name, found.uid, found.gid, found.groups) == ("alice", 2000, 2000, (2000, 3000))
    assert found.environment == {"HOME": "/home/alice", "USER": "alice", "LOGNAME": "alice", "SHELL": "/bin/bash"}


@pytest.mark.parametrize(
    "answer",
    [
        account(uid=0),
        account(uid=999),
        account(uid=65534),
        account(uid=2**32 - 1),
        account(gid=0),
        account(name="alice2"),
        account(home=""),
        account(home="home/alice"),
    ],
)
def test_root_the_systems_accounts_and_others_names_are_refused_in_words(answer):
    with pytest.raises(LauncherError) as caught:
        ask(answer=answer)
    assert not caught.value.transient
    assert str(caught.value).endswith(".")
    assert caught.value.hint


def test_members_of_roots_group_are_refused(monkeypatch):
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid, 0])
    with pytest.raises(LauncherError, match="group root"):
        ask()


def test_the_least_user_id_goes_up_only():
    with pytest.raises(LauncherError):
        ask(min_uid=5000)
    with pytest.raises(LauncherError):
        ask(answer=account(uid=500), min_uid=100)


def test_an_account_that_is_not_there_is_refused():
    with pytest.raises(LauncherError, match="no account"):
        identity_of("no-such-account-here")
    with pytest.raises(LauncherError, match="system account"):
        identity_of("root")
    with pytest.raises(LauncherError, match="system account"):
        identity_of("daemon")


def nobody(name):
    raise KeyError(name)


def test_an_account_with_capital_letters_is_the_users_if_no_other_is_alike():
    found = identity_of("alice", lookup=nobody, every=lambda: [account("bob"), account("Alice", uid=2001)])
    assert (found.name, found.uid) == ("Alice", 2001)
    found = identity_of("alice", lookup=lambda _: account(), every=lambda: [account(), account("Alice", uid=2001)])
    assert found.uid == 2000


def test_of_several_accounts_that_differ_in_capital_letters_none_is_guessed():
    with pytest.raises(LauncherError, match="several accounts") as caught:
        identity_of("alice", lookup=nobody, every=lambda: [account("Alice"), account("ALICE", uid=2001)])
    assert not caught.value.transient


def test_a_directory_service_that_is_away_is_asked_again():
    def away(name):
        raise OSError(5, "away")

    with pytest.raises(LauncherError) as caught:
        identity_of("alice", lookup=away)
    assert caught.value.transient


def test_a_shell_that_lets_nobody_in_is_no_reason():
    assert ask(answer=account(shell="/usr/sbin/nologin")).name == "alice"


def test_a_job_is_a_users_by_the_normal_form_of_its_accounts_name():
    assert same_user("alice", "alice")
    assert same_user("Alice", "alice")
    assert not same_user("bob", "alice")
    assert not same_user("", "")
    assert not same_user("1001", "alice")
