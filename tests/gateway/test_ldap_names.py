"""Distinguished names and filters: a value can never become syntax."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sansldap import FilterAnd, FilterEquality, FilterExtensibleMatch, FilterSubstrings, LDAPFilter

from gateway.auth.ldap import client
from gateway.auth.ldap.client import Entry, LdapError
from gateway.auth.ldap.dn import escaped, parts, under
from gateway.auth.ldap.filters import either, filled, parsed, placeholders
from gateway.auth.ldap.groups import names_of

BASE = "ou=people,dc=example"
values = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
nasty = st.text(st.sampled_from(' #,+"\\<>;=\0*()ab'), min_size=1, max_size=20)


@given(values | nasty)
def test_a_value_in_a_name_stays_one_value(value):
    name = f"uid={escaped(value)},{BASE}"
    first, *rest = parts(name)
    assert rest == ["ou=people", "dc=example"]
    assert first.removeprefix("uid=") == value.casefold()
    assert under(name, BASE)


@pytest.mark.parametrize(
    ("name", "base", "below"),
    [
        ("cn=a,ou=groups,dc=example", "ou=groups,dc=example", True),
        ("CN=A, OU=Groups ,DC=Example", "ou=groups,dc=example", True),
        ("ou=groups,dc=example", "ou=groups,dc=example", True),
        ("cn=a,ou=clubs,dc=example", "ou=groups,dc=example", False),
        ("cn=a,xou=groups,dc=example", "ou=groups,dc=example", False),
        ("cn=a\\,ou=groups,dc=example", "ou=groups,dc=example", False),
        ("cn=a\\\\,ou=groups,dc=example", "ou=groups,dc=example", True),
        ('cn="a,ou=groups,dc=example"', "ou=groups,dc=example", False),
        ("cn=a;ou=groups;dc=example", "ou=groups,dc=example", False),
        ("dc=example", "ou=groups,dc=example", False),
        ("cn=\\67\\70,ou=groups,dc=example", "cn=gp,ou=groups,dc=example", True),
        ("cn=\\C3\\A4,ou=groups,dc=example", "cn=Ä,ou=groups,dc=example", True),
        ("", "ou=groups,dc=example", False),
        ("cn=a,ou=groups,dc=example", "", False),
    ],
)
def test_under_compares_the_parts_of_names(name, base, below):
    assert under(name, base) is below


TEMPLATES = (
    "(uid={name})",
    "(&(objectClass=person)(!(disabled=1))(|(uid={name})(mail={name}@example.edu)))",
    "(cn=x*{name}*y)",
)


@given(values | nasty, st.sampled_from(TEMPLATES))
def test_a_value_in_a_filter_stays_one_value(value, template):
    made = filled(parsed(template), {"name": value})
    plain = filled(parsed(template), {"name": "v"})
    assert shape(made) == shape(plain)
    # The text form is parsed to the same filter.
    assert LDAPFilter.from_string(str(made)) == made


def shape(found):
    """Return a filter without its values."""
    if hasattr(found, "filters"):
        return type(found), [shape(each) for each in found.filters]
    if hasattr(found, "filter"):
        return type(found), shape(found.filter)
    return type(found), found.attribute


def test_placeholders_are_replaced_at_once_and_only_in_values():
    template = parsed("(&(a={dn})(b={name})(c={dn}{name}))")
    made = filled(template, {"dn": "{name}", "name": "{dn}"})
    assert made == FilterAnd(
        [FilterEquality("a", b"{name}"), FilterEquality("b", b"{dn}"), FilterEquality("c", b"{name}{dn}")]
    )
    chain = filled(parsed("(member:1.2.840.113556.1.4.1941:={dn})"), {"dn": "cn=a,dc=x"})
    assert isinstance(chain, FilterExtensibleMatch)
    assert chain.value == b"cn=a,dc=x"
    some = filled(parsed("(cn={name}*)"), {"name": "*"})
    assert isinstance(some, FilterSubstrings)
    assert some.initial == b"*"
    assert placeholders(template) == {"dn", "name"}
    assert placeholders(parsed("(memberUid={name})")) == {"name"}
    assert either([template]) is template


@pytest.mark.parametrize("text", ["", "(uid={name}", "(uid={name}))", "(&)x", "()", "(a={name})(b=c)"])
def test_an_invalid_filter_is_rejected(text):
    with pytest.raises(ValueError):
        parsed(text)


def test_a_group_without_exactly_one_valid_name_is_left_out():
    groups = [
        Entry("cn=a", {"cn": ["Staff "]}),
        Entry("cn=b", {"cn": ["one", "two"]}),
        Entry("cn=c", {}),
        Entry("cn=d", {"cn": ["line\nbreak"]}),
        Entry("cn=e", {"cn": [""]}),
    ]
    assert names_of(groups, "cn") == ("Staff",)


@given(st.binary(max_size=300))
def test_any_data_from_a_server_is_valid_ldap_or_an_error(data):
    session = client.sansldap.LDAPClient()
    session.search_request("dc=x", filter=parsed("(a=b)"))
    try:
        client._messages(session, data)
    except LdapError as error:
        assert str(error)
