"""The project is written in plain, standard English: it contains no phrase or name that the writing guide rules out.

Each pattern has what to write instead. Source: docs/glossary.md and "Plain English" in CONTRIBUTING.md.
"""

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXEMPT = {
    "tests/test_plain_english.py",
    "docs/glossary.md",
    "state/settings/renamed_keys.py",
    "tests/state/test_settings.py",
    "CHANGELOG.md",
}
"""Files that name the phrases or old configuration keys in order to rule them out."""
SUFFIXES = {".py", ".html", ".js", ".css", ".md", ".toml", ".sh", ".mjs", ".conf"}
NAMES = {"Makefile", "towpath", "towpath-pam", "towpath-run"}
"""Further files by their name: the Makefile and the sudoers files."""

TEXT = {
    # users and roles
    r"(?<!ou=)(?<!OU=)(?<!objectClass=)\b(?:person|persons|people|peoples)(?:'s|s')?\b": "user, users",
    r"\bwho(?:so|m)?ever\b": "anyone who, users who, you",
    r"\bsomebod(?:y|ies)(?:'s)?\b": "a user, someone, another user",
    r"\beverybod(?:y|ies)(?:'s)?\b": "everyone, all users",
    r"\banybod(?:y|ies)(?:'s)?\b": "anyone, any user",
    r"\bstrangers?'?s?\b": "an attacker, an unauthenticated client, another user",
    r"\bneighbours?'?s?\b": "other clients behind the same address, other jobs on the node",
    r"\bsmall letters\b": "lowercase letters",
    r"\bcapital letters\b": "uppercase letters",
    r"\bvouch(?:es|ed|ing)? for\b": "asserts, confirms, trusts",
    r"\blet(?:s|ting)? (?:nobody|anybody|everybody|somebody|them|her|him|people|users) in\b": "allows them to sign in",
    r"\bputs? (?:nobody|somebody|everybody|them) out\b": "signs nobody out",
    # what modules and functions do
    r"\brefuses? to (?:know|decide|judge)\b": "does not know about",
    r"\bowns:": "Owns ... (a sentence without a colon)",
    r"\btells? apart\b|\btold apart\b": "distinguishes",
    r"\bin (?:plain )?words\b": "with a message, as a sentence, or leave it out",
    r"\bthe word of\b|\bits word\b|\b(?:an?|the)(?:ir)? words? of\b|\bwithout a word\b": "report, message, silently",
    r"\bis said\b|\bare said\b|\bwas said\b": "is reported, is logged, is shown",
    r"\bis heard\b|\bhears? (?:of|it|that)\b|\bunheard\b": "receives, is notified",
    r"\bis asked for\b|\bwas asked for\b|\bare asked for\b": "is requested",
    r"\bstands? in (?:its|the|a|an|no|one|for)\b": "is in, replaces, represents",
    r"\bstands? (?:beside|behind|before|above|below|under|there|here|between)\b": "is shown beside, is",
    r"\bstand-?ins?\b": "substitute, placeholder, fake",
    r"\bcom(?:e|es|ing) to (?:its end|an end|nothing|rest|be)\b": "ends",
    r"\ball that (?:is|was|are|were|it|they|he|she|a|an|the|you|we|people|users|nobody|anybody|somebody)\b": "everything that",
    r"\bthat there is\b|\bwhat there is\b": "name the thing",
    r"\bto be had\b": "does not exist, is not available",
    r"\bnot to be (?:trusted|believed|had|found|read|reached|repeated)\b": "is not trusted, cannot be ...",
    r"\bis (?:also )?none of (?:the hub's|ours|its|theirs|the)\b": "does not belong to",
    r"\bis (?:nobody|somebody|everybody|anybody)'s\b": "belongs to",
    r"(?<!only one )\bof its kind\b|\bof that kind\b|\bits like\b|\band the like\b": "name the thing; similar",
    r"\b(?:is|are|was|were) (?:made|read|asked|written|drawn|begun|taken) anew\b|\banew\b": "again, new",
    r"\b(?:the hub|the owner|root|loopback|one|this|that|these|those|it|them|us|they|you) alone\b": "only (before the noun)",
    r"\bgoes? on\b|\bgoing on\b|\bwent on\b": "continues, keeps running",
    r"\btakes? (?:it |them |that |this )?back\b|\btaken back\b": "revokes, undoes",
    r"\bgives? way\b|\bgave way\b": "is preempted, is replaced by",
    r"\bmends?\b|\bmended\b|\bmending\b": "repairs, fixes, restores",
    r"\bmakes? up for\b": "compensates for, maps",
    r"\bholds? (?:good|against|whatever)\b": "applies to, is enforced for",
    r"\bheld against\b": "compared with",
    r"\bjudged?\b(?! by)|\bjudges\b|\bjudging\b": "checks, decides, compares",
    r"\bon (?:its|their) way\b": "starting, in progress",
    r"\blooks? again\b": "refreshes, checks again",
    r"\bas it comes\b|\bas they come\b": "unchanged, with its defaults",
    r"\bshut (?:out|for|itself)\b|\bis shut\b(?! down)": "blocked",
    r"\bof so(?:me|mebody) else's\b": "of another user",
    r"\bone's own\b": "your own, the user's own",
    r"\bfor (?:those|them|him|her) who\b": "for users who",
    r"\bthose who\b": "users who",
    r"\bhe who\b|\bshe who\b|\bthat which\b": "the user who, what",
    r"\bbring(?:s)? (?:them|it|him|her) (?:home|back) to\b": "redirects to, returns to",
    r"\bleads? (?:nowhere|elsewhere|home)\b": "does not redirect to another site, goes to the home page",
    r"\bwhence\b|\bthither\b|\bhitherto\b|\bthereof\b|\bwherefore\b|\bthereby\b|\bhenceforth\b": "from where; leave it out",
    r"\b(?:may|might|shall) not be had\b|\bcannot be had\b": "is not available",
    r"\bis at an end\b|\bcame to an end\b": "has ended",
    r"\bmake(?:s)? (?:sure|certain) by\b": "checks that",
    r"\bpoem|\bpoetic\b": "plain English",
    r"\bhalf-?way house\b": "a compromise",
    r"\bby hand of\b|\bby (?:its|an admin's) hand\b": "by an admin",
    r"\bin (?:its|their) turn\b": "then, also",
    r"\bas far as can be\b|\bas far as may be\b": "as far as possible",
    r"\b(?:a|the) (?:keeper|doorkeeper)s? of\b": "stores, manages",
    r"\bcarried over\b|\bcarr(?:y|ies) over\b": "imported, copied",
    r"\bwanted to go\b|\bwhere they wanted\b": "the requested page",
    r"\bhas (?:nothing|no more) to say\b": "returns nothing",
    r"\bforgotten (?:when|one by one|every)\b": "expires",
    r"\bis not there (?:any more|yet)\b": "does not exist any more",
    r"\bany more than\b": "and neither",
    r"\bmore seldom\b|\bever later\b": "less often",
    r"\bmay enter\b|\bmay not enter\b|\bcan enter\b": "may sign in",
    r"\bkept out\b|\bkeeps? (?:them|him|her|nobody|somebody|anybody|people|their owner) out\b": "locked out, blocked",
    r"\bgood once\b|\bgood for one\b": "valid once, works once",
    # pages
    r"\bsomebody was quicker\b": "Someone else changed this first",
    r"\bnone runs\b": "No servers running",
    r"\bto the content\b": "Skip to main content",
    r"\bgo to its form\b": "Continue",
    r"\bin it now\b": "Current members",
    r"\btakes nobody in\b": "does not support read-only access",
    r"\bon its way down\b": "is stopping",
    r"\bwhat is free, as of\b": "Updated",
    r"\bbeside this one\b": "Add a server",
    r"\bthey are (?:admins|added)\b": "Make them admins, 3 users added",
    r"\bit answers\.": "The server is ready.",
    r"\bdo(?:es)? not sign in here\b": "cannot sign in",
    r"\bask for less\b|\bwhat you asked for\b": "Request fewer resources, your request",
}
"""Phrases, in any case of letters."""

IDENTIFIERS = {
    r"\bleast_uid\b": "min_uid",
    r"\b(?:Hands|Desk|Wish|Wishes|Means|Sheet|Drawn|Gift|Duty|Talk|Counted|Throttled|Ground)\b|\b(?:Told|Found|Left|Done|Asked)\b(?=[(\]|:,)])": (
        "a name from the field, qualified: DirectoryUser, RoleRow, ThrottledProof"
    ),
    r"\bdef (?:told|said|asked|heard|made|given|drawn|judged|standing|anew|mend|whole|whence|words)\b": (
        "a verb that says what the function does"
    ),
    r"\b(?:PEOPLE|Person|people|person)\b(?==|\s*:|\.)": "USERS, User, users",
    r"\bdef test_who(?:ever)?_|\bdef test_what_|\bdef test_nobody_|\bdef test_somebody_|\bdef test_nor_": (
        "a sentence with a subject: test_signed_in_users_are_checked_again"
    ),
}
"""Names in code, with their case."""


@cache
def files():
    """Return (name, text) of the project's text files."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = {name: ROOT / name for name in listed.split("\0") if name and name not in EXEMPT}
    wanted = {name: path for name, path in paths.items() if path.suffix in SUFFIXES or path.name in NAMES}
    return tuple((name, path.read_text()) for name, path in wanted.items() if path.is_file())


def occurrences(rule, instead):
    """Return the places where a pattern occurs, as lines of a report."""
    return [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match.group(0)!r} -> {instead}"
        for name, text in files()
        for match in rule.finditer(text)
    ]


ALL = [(re.compile(pattern, re.IGNORECASE), instead) for pattern, instead in TEXT.items()]
ALL += [(re.compile(pattern), instead) for pattern, instead in IDENTIFIERS.items()]


@pytest.mark.parametrize(("rule", "instead"), ALL, ids=[rule.pattern for rule, _ in ALL])
def test_no_file_contains_a_phrase_or_name_that_the_guide_rules_out(rule, instead):
    found = occurrences(rule, instead)
    assert not found, "\n".join(found)
