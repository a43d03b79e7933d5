"""The door: the HTTP server, sign-in, sessions, authorisation, the tunnel, the command line.

Owns everything that faces the internet. Does not know about clusters: it has no cluster credential, and never calls
a scheduler. Keeps nothing that it could lose: any worker may be killed at any time.
"""
