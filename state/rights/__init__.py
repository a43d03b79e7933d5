"""Identities and what they may do: roles, scopes, OAuth clients."""
