"""Sign-in by an LDAP directory: Active Directory, OpenLDAP, 389, FreeIPA.

Owns: how a name and a password are put to a directory, and which groups follow. Refuses to know pages and sessions.
"""
