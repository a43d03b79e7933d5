"""safe_next never redirects to another site."""

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal.web.next_url import safe_next

HOSTILE = [
    "//evil.example",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "https:///evil.example",
    "http:evil.example",
    "https://hub.example@evil.example/",
    "javascript:alert(1)",
    "/%0d%0aSet-Cookie: x",
    "/hub/home\r\nLocation: //evil.example",
    "/hub/\x00",
    " /hub/home",
    "/hub/home ",
    "/../../evil",
    "/hub/%2e%2e/x",
    "/hub/%252e%252e/x",
    "/hub/..;/x",
    "/%2f/evil.example",
    "/%5cevil.example",
    "/hub/%5c%5cevil",
    "hub/home",
    "",
    None,
    "/" + "a" * 4000,
    "/\ud800",
]


@pytest.mark.parametrize("raw", HOSTILE)
def test_a_hostile_next_is_rejected_or_harmless(raw):
    answer = safe_next(raw, "/")
    if raw == "/%0d%0aSet-Cookie: x":
        assert answer == ""
    assert answer == "" or _stays(answer, "/")


AMBIGUOUS = [
    "/\\evil.example",
    "\\\\evil.example",
    "/hub/home?to=\\\\evil.example",
    "/hub/home#\\evil.example",
    "/%5cevil.example",
    "/%5C/evil.example",
    "/hub/%255cevil.example",
    "/hub/..%5c..%5cevil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "/\r\n/evil.example",
    "/hub/home?to=\t",
    "/hub/home\x7f",
    "/hub/%09home",
    "/hub/%0ahome",
    "/hub/%250d%250ahome",
    "//hub/home",
    "/%2fhub/home",
]


@pytest.mark.parametrize("raw", AMBIGUOUS)
def test_ambiguous_urls_are_rejected_and_not_repaired(raw):
    """Browsers treat a backslash as a slash and ignore tabs and line breaks (WHATWG URL, basic URL parser)."""
    assert safe_next(raw, "/") == ""


@pytest.mark.parametrize("raw", ["/hub/home", "/user/alice/lab?a=b#c", "/user/al%40ice/files/a%20b.ipynb", "/"])
def test_a_path_of_the_hub_is_kept(raw):
    assert safe_next(raw, "/") == raw


def test_only_paths_under_the_base_path_are_kept():
    assert safe_next("/jupyter/hub/home", "/jupyter/") == "/jupyter/hub/home"
    assert safe_next("/elsewhere", "/jupyter/") == ""
    assert safe_next("/jupyter/../elsewhere", "/jupyter/") == ""


def test_letters_beyond_ascii_are_escaped():
    assert safe_next("/user/alice/files/été", "/") == "/user/alice/files/%C3%A9t%C3%A9"


@given(st.text(max_size=60) | st.from_regex(r"[/\\.%;a2eEfF5cC0dD@:\t?#]{1,24}", fullmatch=True))
def test_browsers_stay_on_the_hub_for_any_input(raw):
    for base in ("/", "/hub-base/"):
        answer = safe_next(raw, base)
        if answer:
            assert _stays(answer, base)


def _stays(answer: str, base: str) -> bool:
    assert answer.isascii()
    assert answer.isprintable()
    assert " " not in answer
    target = urlsplit(urljoin("https://hub.example/hub/login", answer))
    return (target.scheme, target.netloc) == ("https", "hub.example") and target.path.startswith(base)
