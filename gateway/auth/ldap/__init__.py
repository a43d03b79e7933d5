"""Sign-in with an LDAP directory: Active Directory, OpenLDAP, 389, FreeIPA.

Owns checking a name and a password with a directory, and finding the user's groups. Does not know about pages and
sessions.
"""
