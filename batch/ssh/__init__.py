"""Connections to SSH hosts: who we are, whom we trust, one connection per host and account.

Owns nothing of launchers: what is run over a connection is its caller's.
"""
