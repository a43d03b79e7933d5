"""State: the records, the rules on them, and the only access to Redis.

Owns users, servers, sessions, tokens, routes, events, leases and the configuration as a value. Does not know HTTP,
pages, schedulers or processes.
"""
