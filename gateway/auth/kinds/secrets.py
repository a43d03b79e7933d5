"""What is wrong with a secret of a configuration: a placeholder, or one that can be guessed. Pure."""

from typing import Final

PLACEHOLDERS: Final = frozenset(
    {
        *("changeme", "change-me", "change_me", "client-secret", "client_secret", "password", "secret", "supersecret"),
        *("your-client-secret", "your-secret", "a-secret", "insert-secret-here", "not-so-secret", "admin", "ldap"),
    }
)


def guessable(secret: str, shortest: int) -> bool:
    """Return whether a secret is short, or has few different characters."""
    return len(secret) < shortest or len(set(secret)) < shortest // 3
