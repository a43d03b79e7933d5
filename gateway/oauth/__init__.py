"""The hub as an OAuth 2 provider, for servers and services whose users sign in through the hub.

Owns the authorisation code grant (by Authlib) and the codes and tokens that it issues. Does not know about pages
(`portal.pages.authorize`).
"""
