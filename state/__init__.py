"""What is true: the records, the rules on them, and the one door to Redis.

Owns: users, servers, sessions, tokens, routes, events, leases, the configuration as a value.
Refuses to know: HTTP, pages, schedulers, processes.
"""
