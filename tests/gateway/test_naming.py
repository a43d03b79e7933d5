"""The rule that converts a provider's name to the hub's: no repairs, and no name for two users."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.naming import hub_name, owner_of, shown
from portal.site.sign_in import RefusedError
from state.config.tables import ProviderConfig
from state.errors import NameRuleError
from state.names import USER_NAME, USER_NAME_MAX, is_system, user_name


def provider(name="campus", **more):
    return ProviderConfig(name=name, kind="oidc", **more)


def named(raw, mine=None, others=(), **table):
    mine = mine or provider()
    return hub_name(raw, mine, (mine, *others), table)


@pytest.mark.parametrize(
    ("raw", "more", "name"),
    [
        ("alice", {}, "alice"),
        ("Alice", {}, "alice"),
        ("ALICE@Example.EDU", {}, "alice@example.edu"),
        ("alice@example.edu", {"strip_domain": "example.edu"}, "alice"),
        ("Alice@EXAMPLE.edu", {"strip_domain": "Example.EDU"}, "alice"),
        ("alice@other.edu", {"strip_domain": "example.edu"}, "alice@other.edu"),
        ("alice@x", {"strip_domain": "example.edu", "prefix": "p-"}, "p-alice@x"),
        ("alice@sub.example.edu", {"strip_domain": "example.edu"}, "alice@sub.example.edu"),
        ("alice@example.edu@example.edu", {"strip_domain": "example.edu"}, "alice@example.edu"),
        ("alice", {"prefix": "gh-"}, "gh-alice"),
        ("0000-0002-1825-0097", {}, "0000-0002-1825-0097"),
        ("a" * 64, {}, "a" * 64),
    ],
)
def test_the_rule(raw, more, name):
    assert named(raw, provider(**more)) == name


@pytest.mark.parametrize(
    "raw",
    [
        *("", " ", "alice ", " alice", "al ice", "alice\n", "alice\0", "a/b", "../root", "a\\b", "al%69ce", "-alice"),
        *(".alice", "@alice", "alice;id", "alice$", "alice:x", "alice,bob", "alice#", "alice?", "al'ice", 'al"ice'),
        *("a" * 65, "a" * 10_000, "<b>", "{{x}}", "*", "~alice", "alicé", "элис", "爱丽丝"),
    ],
)
def test_names_that_would_need_escaping_are_rejected(raw):
    with pytest.raises(RefusedError):
        named(raw)


@pytest.mark.parametrize(
    "raw",
    [
        *(
            "\uff41\uff4c\uff49\uff43\uff45",  # fullwidth
            "al\u0131ce",  # dotless i
            "\u1d43lice",  # superscript a
            "\U0001d41alice",  # bold a
            "\ufb01ona",  # a ligature
            "\u2177",  # a Roman numeral
            "\u212aelvin",  # the Kelvin sign
            "\u017fam",  # long s
        ),
        *("alice\u200b", "alice\u00ad", "al\u0300ice", "\ufeffalice", "ali\u0441e"),
    ],
)
def test_letters_that_look_like_ascii_letters_are_rejected(raw):
    """GHSA-r764-xgvf-jrfj and homographs: normalization must not merge two users."""
    with pytest.raises(RefusedError):
        named(raw)


@pytest.mark.parametrize(
    "raw", ["root", "Root", "ROOT", "daemon", "nobody", "slurm", "munge", "systemd-network", "www-data"]
)
def test_names_of_system_accounts_are_rejected(raw):
    with pytest.raises(RefusedError, match="system account"):
        named(raw)
    with pytest.raises(RefusedError, match="system account"):
        named(f"{raw}@example.edu", provider(strip_domain="example.edu"))
    with pytest.raises(RefusedError, match="system account"):
        named("erin", erin=raw)
    with pytest.raises(RefusedError, match="system account"):
        named(raw[1:], provider(prefix=raw[0].lower()))


def test_a_table_maps_names_that_the_rule_does_not_cover():
    table = {"jane.doe+x@other.org": "jdoe", "élise": "elise"}
    assert named("Jane.Doe+x@Other.ORG", provider(prefix="x-"), **table) == "jdoe"
    assert named("élise", **table) == "elise"
    assert named("jane", provider(prefix="x-"), **table) == "x-jane"
    with pytest.raises(RefusedError):
        named("\u212aelvin", kelvin="kelvin")
    with pytest.raises(RefusedError):
        named("ÉLISE", **table)


def test_a_name_without_the_stripped_domain_is_rejected():
    campus = provider(strip_domain="example.edu")
    assert named("alice@example.edu", campus) == "alice"
    with pytest.raises(RefusedError, match="not a valid user name"):
        named("alice", campus)
    assert named("alice", campus, alice="alice-local") == "alice-local"
    typed = ProviderConfig(name="ldap", kind="ldap", strip_domain="example.edu")
    assert named("alice", typed) == named("alice@example.edu", typed) == "alice"


def test_names_with_a_longer_prefix_are_reserved_for_its_provider():
    """kubespawner CVE-2020-15110, systemdspawner CVE-2020-26261: one name for two users."""
    plain, github, deep = provider(), provider("github", prefix="gh-"), provider("lab", prefix="gh-lab-")
    providers = (plain, github, deep)
    for mine, raw, owner in (
        (plain, "gh-alice", "github"),
        (plain, "gh-lab-alice", "github"),
        (github, "lab-alice", "lab"),
        (plain, "gha", None),
        (github, "alice", None),
        (deep, "alice", None),
    ):
        name = f"{mine.prefix}{raw}"
        found = owner_of(name, mine, providers)
        assert (found.name if found else None) == owner, name
        if owner is None:
            assert hub_name(raw, mine, providers, {}) == name
        else:
            with pytest.raises(RefusedError, match="is reserved for users of"):
                hub_name(raw, mine, providers, {})


def test_providers_with_the_same_users_share_names():
    plain, github = provider(shared_names=True), provider("github", prefix="gh-", shared_names=True)
    assert hub_name("gh-alice", plain, (plain, github), {}) == "gh-alice"


@given(st.text(max_size=80), st.sampled_from(["", "gh-", "x"]), st.sampled_from(["", "example.edu"]))
def test_names_are_plain_and_normalized_for_any_input(raw, prefix, domain):
    try:
        name = named(raw, provider(prefix=prefix, strip_domain=domain))
    except RefusedError as error:
        assert str(error).isprintable()
        return
    assert USER_NAME.fullmatch(name)
    assert len(name) <= USER_NAME_MAX
    assert user_name(name) == name
    assert not is_system(name)
    assert name.startswith(prefix)


@given(
    st.lists(st.text("ab@-G.", min_size=1, max_size=6), min_size=2, max_size=2, unique=True),
    st.lists(st.sampled_from(["", "a", "ab", "b-"]), min_size=2, max_size=2, unique=True),
)
def test_two_providers_never_prove_the_same_name(raws, prefixes):
    both = tuple(provider(f"p{number}", prefix=prefix) for number, prefix in enumerate(prefixes))
    names = []
    for raw, mine in zip(raws, both, strict=True):
        try:
            names.append(hub_name(raw, mine, both, {}))
        except (RefusedError, NameRuleError):
            return
    assert names[0] != names[1]


def test_a_name_in_a_sentence_is_short_and_printable():
    assert shown("alice") == "alice"
    assert shown("a\nb\x1b[31m") == "a?b?[31m"
    assert len(shown("x" * 10_000)) <= 81
