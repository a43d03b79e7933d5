"""The validation of choices follows the same rules for form, API and URL."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.config.tables import Config, OptionConfig, ProfileConfig
from state.errors import ChoicesError
from state.offer.choices import choose, default_of, fault_of, validate
from state.records.models import User

ANN = User(name="ann", created=1.0)
PROFILE = ProfileConfig(
    name="gpu",
    cluster="local",
    option={
        "cores": OptionConfig(kind="integer", minimum=1, maximum=64, default=2),
        "notify": OptionConfig(kind="boolean", default=True),
        "queue": OptionConfig(kind="choice", values=("short", "long")),
        "account": OptionConfig(kind="text", pattern="[a-z]*", maximum=8),
    },
)
DEFAULTS = {"cores": 2, "notify": True, "queue": "short", "account": ""}
RAW = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.sampled_from(["3", "on", "long"])
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=2)),
    max_leaves=5,
)


def wrong(picked):
    with pytest.raises(ChoicesError) as caught:
        choose(PROFILE, picked)
    return caught.value.fields


def test_options_without_a_choice_get_their_default():
    assert choose(PROFILE, {}) == DEFAULTS
    assert choose(PROFILE, {"cores": None}) == DEFAULTS


@pytest.mark.parametrize(
    "picked",
    [
        {"cores": 3, "notify": False, "queue": "long", "account": "abc"},
        {"cores": "3", "notify": "off", "queue": "long", "account": "abc"},
        {"cores": ["3"], "notify": ["false"], "queue": ["long"], "account": ["abc"]},
    ],
)
def test_form_url_and_api_give_the_same_result(picked):
    assert choose(PROFILE, picked) == {"cores": 3, "notify": False, "queue": "long", "account": "abc"}


def test_all_invalid_options_are_reported_at_once():
    fields = wrong({"cores": "65", "notify": "maybe", "queue": "other", "account": "ABC", "prologue": "rm -rf"})
    assert set(fields) == {"cores", "notify", "queue", "account", "prologue"}
    assert fields["cores"] == "At most 64."
    assert fields["queue"] == "Pick one of: short, long."
    assert fields["prologue"] == "The profile gpu has no such option."


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cores", True), ("cores", 2.0), ("cores", "2.0"), ("cores", "9" * 30), ("cores", 0), ("cores", [1, 2]),
        ("cores", {}),
        ("notify", 1), ("notify", []), ("queue", ""), ("queue", ["short", "long"]), ("account", "a\nb"),
        ("account", "abcdefghi"), ("account", 5), ("account", "a\x00"), ("account", "abc\n"), ("account", "x" * 5000),
    ],
)  # fmt: skip
def test_invalid_choices_are_rejected(name, value):
    assert set(wrong({name: value})) == {name}


@given(st.dictionaries(st.one_of(st.sampled_from(sorted(PROFILE.option)), st.text(max_size=10)), RAW, max_size=5))
def test_any_input_is_accepted_or_rejected_with_a_message(picked):
    try:
        choices = choose(PROFILE, picked)
    except ChoicesError as error:
        messages = list(error.fields.values())
        assert messages
        assert all(message.endswith(".") for message in messages)
    else:
        assert set(choices) == set(PROFILE.option)
        assert all(fault_of(option, choices[name]) is None for name, option in PROFILE.option.items())
        assert choose(PROFILE, choices) == choices


@given(st.sampled_from(["text", "integer", "boolean"]), st.integers(-9, 9), st.integers(0, 9))
def test_an_implicit_default_has_the_right_type(kind, least, more):
    option = (
        OptionConfig(kind=kind, minimum=least, maximum=least + more) if kind == "integer" else OptionConfig(kind=kind)
    )
    assert fault_of(option, default_of(option)) is None


def test_a_profile_is_found_by_name_and_the_first_is_the_default():
    config = Config(profile=(PROFILE, ProfileConfig(name="other", cluster="local")))
    chosen = validate(config, "", {"cores": "4"}, ANN)
    assert (chosen.profile, chosen.cluster, chosen.choices["cores"]) == ("gpu", "local", 4)
    assert validate(config, "other", {}, ANN).choices == {}
    with pytest.raises(ChoicesError, match="This profile does not exist"):
        validate(config, "nothing", {}, ANN)
