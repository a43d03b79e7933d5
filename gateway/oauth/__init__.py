"""The hub as an OAuth 2 provider, for servers and services that sign people in by it.

Owns: the grant, by Authlib, and what it issues. Refuses to know pages (`portal.pages.authorize`).
"""
