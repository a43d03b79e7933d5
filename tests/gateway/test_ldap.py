"""Sign-in with a real slapd over TLS: users and groups, hostile names, and which servers are trusted."""

import asyncio
import contextlib
import shutil
import ssl

import pytest
from msgspec.structs import replace

from gateway.auth.kinds.ldap import LdapConfig
from gateway.auth.ldap.client import Connection, LdapError, server_address
from gateway.auth.ldap.directory import Directory, UnreachableError
from gateway.auth.ldap.provider import LdapProof
from gateway.auth.proof import GoneError, UnsureError
from portal.site.sign_in import Provider
from state.records.models import Standing
from tests.conftest import free_port
from tests.ldap_server import (
    BASE,
    CLUBS,
    GROUPS,
    HUB_DN,
    HUB_PASSWORD,
    USERS,
    Slapd,
    certificate,
    group,
    user_entry,
)

ODD = "äß€𝄞 \"'\\;,+<>#=*()\t end"


@pytest.fixture(scope="module")
def slapd(tmp_path_factory):
    server = Slapd(tmp_path_factory.mktemp("slapd")).start()
    try:
        server.add(
            user_entry("alice", mail="alice@example.edu"),
            user_entry("bob", "other"),
            user_entry("odd", ODD),
            user_entry("nopassword", ""),
            user_entry("twin1", mail="twin@example.edu"),
            user_entry("twin2", mail="twin@example.edu"),
            user_entry("a+b", "plus"),
        )
        server.change(f"dn: uid=twin1,{USERS}\nchangetype: modify\nadd: uid\nuid: twinother\n")
        alice, bob = f"uid=alice,{USERS}", f"uid=bob,{USERS}"
        server.add(
            group("hpc", alice),
            group("gpu", f"cn=hpc,{GROUPS}", bob),
            group("all-users", f"cn=gpu,{GROUPS}"),
            # A loop: the group all-users is also in gpu.
            group("loop", f"cn=all-users,{GROUPS}"),
            group("hub-admins", bob),
            # Every user may create a club with any name.
            group("hub-admins", alice, base=CLUBS),
            *(group(f"deep{at}", alice if at == 0 else f"cn=deep{at - 1},{GROUPS}") for at in range(15)),
            "\n".join(
                [
                    f"dn: cn=posix,{GROUPS}",
                    "objectClass: posixGroup",
                    "cn: posix",
                    "gidNumber: 4711",
                    "memberUid: alice",
                ]
            ),
        )
        server.change(f"dn: cn=gpu,{GROUPS}\nchangetype: modify\nadd: member\nmember: cn=loop,{GROUPS}\n")
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.folder)


@pytest.fixture(scope="module")
def config(slapd):
    return LdapConfig(
        servers=(slapd.ldaps,),
        ca_file=str(slapd.ca),
        bind_dn=HUB_DN,
        bind_password=HUB_PASSWORD,
        user_base=USERS,
        group_base=GROUPS,
    )


def sign_in(config, name, password):
    return asyncio.run(Directory(config).sign_in(name, password))


def test_the_right_password_finds_the_entry(config):
    found = sign_in(config, "alice", "right")
    assert (found.dn, found.name, found.groups) == (f"uid=alice,{USERS}", "alice", None)


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("alice", "wrong"), ("alice", ""), ("alice", "other"), ("alice", "right "), ("nobody", "right"),
        ("nopassword", ""), ("nopassword", "x"), ("", "right"), ("hub", HUB_PASSWORD),
    ],
)  # fmt: skip
def test_any_other_name_or_password_is_rejected(config, name, password):
    assert sign_in(config, name, password) is None


def test_a_password_may_contain_any_character(config):
    assert sign_in(config, "odd", ODD).name == "odd"
    assert sign_in(config, "odd", ODD[:-1]) is None


@pytest.mark.parametrize(
    "name",
    [
        "*",
        "ali*",
        "alice)(uid=*",
        "alice)(|(uid=*",
        "*)(objectClass=*",
        "alice\0",
        "\\2a",
        "alice)(cn=alice",
        "(",
        "{name}",
        "a" * 250,
    ],
)
def test_a_name_cannot_inject_into_the_filter(config, name):
    assert sign_in(config, name, "right") is None


@pytest.mark.parametrize("name", ["bob,ou=people", "alice,ou=people", "x,uid=alice", "alice+cn=alice", "alice\\", "#"])
def test_a_name_cannot_inject_into_the_template(config, name):
    direct = replace(config, user_dn=f"uid={{name}},{USERS}", user_base="", bind_dn="", bind_password="")
    assert sign_in(direct, name, "right") is None
    assert sign_in(direct, "alice", "right").name == "alice"
    assert sign_in(direct, "a+b", "plus").name == "a+b"
    assert sign_in(direct, "alice", "") is None


def test_a_name_that_matches_two_entries_is_rejected(config):
    by_mail = replace(config, user_filter="(mail={name})")
    assert sign_in(by_mail, "twin@example.edu", "right") is None
    assert sign_in(by_mail, "alice@example.edu", "right").name == "alice"
    assert sign_in(by_mail, "ALICE@example.edu", "right").name == "alice"


def test_an_entry_with_two_values_of_the_name_attribute_is_rejected(config):
    assert sign_in(config, "twin1", "right") is None
    assert sign_in(replace(config, name_attribute="cn"), "twin1", "right").name == "twin1"
    assert sign_in(replace(config, name_attribute=""), "twinother", "right").name == "twinother"
    assert sign_in(replace(config, name_attribute="employeeNumber"), "alice", "right") is None


def groups(config, name="alice", password="right"):
    return set(sign_in(config, name, password).groups)


DEEP = {f"deep{at}" for at in range(10)}


@pytest.mark.parametrize("way", ["search", "member_of"])
@pytest.mark.parametrize("start_tls", [False, True])
def test_nested_groups_count_and_loops_and_depth_are_limited(config, slapd, way, start_tls):
    by = replace(config, groups=way, servers=(slapd.ldap if start_tls else slapd.ldaps,))
    assert groups(by) == {"hpc", "gpu", "all-users", "loop", *DEEP}
    assert groups(replace(by, nested_groups=False)) == {"hpc", "deep0"}
    assert groups(by, "bob", "other") == {"gpu", "all-users", "loop", "hub-admins"}


def test_groups_outside_the_base_do_not_count(config):
    for way in ("search", "member_of"):
        assert "hub-admins" not in groups(replace(config, groups=way))
        assert "hub-admins" in groups(replace(config, groups=way, group_base=BASE))


def test_groups_that_list_user_names_are_found_by_the_name(config):
    assert groups(replace(config, groups="search", group_filter="(memberUid={name})")) == {"posix"}


def test_without_a_search_groups_are_read_as_the_user(config):
    direct = replace(config, user_dn=f"uid={{name}},{USERS}", bind_dn="", bind_password="", groups="search")
    assert "hpc" in groups(direct)


def refused(config, name="alice", password="right"):
    with pytest.raises(UnreachableError) as caught:
        sign_in(config, name, password)
    return caught.value


def test_a_server_with_an_untrusted_certificate_gets_no_password(config, slapd, tmp_path):
    certificate(tmp_path, "untrusted")
    for url in (slapd.ldaps, slapd.ldap):
        for other in (replace(config, ca_file=str(tmp_path / "untrusted.pem")), replace(config, ca_file="")):
            error = refused(replace(other, servers=(url,)))
            assert "is not trusted" in str(error)
            assert not error.tried
        assert sign_in(replace(config, servers=(url,), ca_file="", tls="unverified"), "alice", "right")


def test_the_certificate_must_match_the_servers_name(slapd, config, tmp_path):
    async def main():
        trusted = ssl.create_default_context(cafile=str(slapd.ca))

        relays = []

        async def relay(reader, writer):
            relays.append(asyncio.current_task())
            there, away = await asyncio.open_connection("127.0.0.1", slapd.tls_port)

            async def pump(source, target):
                with contextlib.suppress(OSError):
                    while data := await source.read(65536):
                        target.write(data)
                target.transport.abort()

            await asyncio.gather(pump(reader, away), pump(there, writer))

        server = await asyncio.start_server(relay, "127.0.0.2", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(LdapError, match="is not trusted"):
            await Connection.open(server_address(f"ldaps://127.0.0.2:{port}", plain=False), trusted)
        server.close()
        await asyncio.gather(*relays)

    asyncio.run(main())


def test_an_expired_certificate_is_not_trusted(config, tmp_path):
    folder = tmp_path / "old"
    folder.mkdir()
    server = Slapd(folder)
    certificate(folder, "server", days=-1, signer=certificate(folder, "authority"))
    server.start()
    try:
        old = replace(config, servers=(server.ldaps,), ca_file=str(server.ca))
        assert "expired" in str(refused(old))
    finally:
        server.stop()


def test_ldap_without_tls_works_only_if_configured(config, slapd):
    plain = replace(config, servers=(slapd.ldap,), tls="none", ca_file="")
    assert sign_in(plain, "alice", "right").name == "alice"


def test_the_next_server_is_tried_when_one_does_not_answer(config, slapd):
    several = replace(config, servers=(f"ldaps://127.0.0.1:{free_port()}", slapd.ldap))
    now = [0.0]
    directory = Directory(several, clock=lambda: now[0])

    async def main():
        assert (await directory.sign_in("alice", "right")).name == "alice"
        assert await directory.sign_in("alice", "wrong") is None
        assert [bool(why) for _, why in await directory.probe()] == [True, False]

    asyncio.run(main())


def test_a_wrong_password_of_the_hub_itself_does_not_count_as_a_failed_sign_in(config):
    error = refused(replace(config, bind_password="wrong"))
    assert "hub's own name" in str(error)
    assert not error.tried
    assert [bool(why) for _, why in asyncio.run(Directory(replace(config, bind_password="wrong")).probe())] == [True]


def test_sign_in_works_again_after_an_outage(config, tmp_path):
    folder = tmp_path / "away"
    folder.mkdir()
    server = Slapd(folder).start()
    server.add(user_entry("alice"))
    directory = Directory(replace(config, servers=(server.ldaps,), ca_file=str(server.ca)))

    async def main():
        assert await directory.sign_in("alice", "right")
        server.stop()
        with pytest.raises(UnreachableError):
            await directory.sign_in("alice", "right")
        server.start()
        assert await directory.sign_in("alice", "right")

    try:
        asyncio.run(main())
    finally:
        server.stop()


def asked_again(config, typed):
    """Check a signed-in user again: return the groups, or the type of the error."""

    async def main():
        proof = LdapProof(Provider(name="ldap", title=""), Directory(config), str)
        standing = Standing(user=typed, session="s", provider="ldap", sealed=typed, began=0.0, checked=0.0)
        try:
            proven, kept = await proof.again(standing)
        except (GoneError, UnsureError) as error:
            return type(error)
        assert (kept, proven.name) == (typed, "leaver")
        return set(proven.groups)

    return asyncio.run(main())


@pytest.mark.parametrize("template", [False, True])
def test_signed_in_users_are_looked_up_again_without_a_password(config, slapd, template):
    by = replace(config, groups="search", user_filter="(&(uid={name})(!(description=disabled)))")
    if template:
        by = replace(config, groups="search", user_dn=f"uid={{name}},{USERS}")
    dn = f"uid=leaver,{USERS}"
    slapd.add(user_entry("leaver"), group("fresh", dn))
    assert sign_in(by, "leaver", "right").groups == ("fresh",)
    assert asked_again(by, "leaver") == {"fresh"}
    slapd.add(group("fresher", dn))
    assert asked_again(by, "leaver") == {"fresh", "fresher"}
    if not template:
        slapd.change(f"dn: {dn}\nchangetype: modify\nadd: description\ndescription: disabled\n")
        assert asked_again(by, "leaver") is GoneError
        assert sign_in(by, "leaver", "right") is None
    slapd.change(f"dn: {dn}\nchangetype: delete\n")
    for name in ("fresh", "fresher"):
        slapd.change(f"dn: cn={name},{GROUPS}\nchangetype: delete\n")
    assert asked_again(by, "leaver") is GoneError


def test_a_directory_that_does_not_answer_or_lacks_its_base_signs_nobody_out(config):
    for wrong in (
        {"servers": (f"ldaps://127.0.0.1:{free_port()}",)},
        {"bind_password": "x"},
        {"user_base": "ou=x," + BASE},
    ):
        assert asked_again(replace(config, **wrong), "alice") is UnsureError


def test_users_are_checked_again_only_if_the_hub_can_look_them_up(config):
    assert Directory(config).asks
    direct = replace(config, user_dn=f"uid={{name}},{USERS}", user_base="")
    assert Directory(direct).asks
    assert not Directory(replace(direct, bind_dn="", bind_password="")).asks
