"""Authentication: the session cookie, the Authorization header, sign-in and sign-out.

Owns the session cookie, and how sessions are opened and closed. Does not know about pages and apps.
"""
