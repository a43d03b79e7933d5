"""Sign-in with OpenID Connect and OAuth 2: one engine, with providers described by data.

Owns the flow to a provider and back, and the verification of its response. Does not know about admission
(`gateway.auth.admission`), the hub's names of users (`gateway.auth.naming`), sessions and pages.
"""
