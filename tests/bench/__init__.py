"""The benchmark: the same work through Towpath and its peers, in one run, on one machine.

`python -m tests.bench --help` says how to run it. Owns the harness, the loads and docs/performance.md. Does not
know how Towpath works: it uses the command line, the REST API and, for routes and sessions, the store.
"""
