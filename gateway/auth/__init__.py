"""Who is asking: the session cookie, the Authorization header, sign-in and sign-out.

Owns: the cookie's name and form, and what opens and closes a session. Refuses to know pages and apps.
"""
