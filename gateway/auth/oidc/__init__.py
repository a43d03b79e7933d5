"""Campus sign-in by OpenID Connect and OAuth 2: one engine, providers as data.

Owns: the way to a provider and back, and what is believed of its answer. Refuses to know who may enter
(`gateway.auth.admission`), which name somebody has here (`gateway.auth.naming`), sessions and pages.
"""
