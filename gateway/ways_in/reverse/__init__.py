"""The way in `reverse`: starters connect to the hub, and streams to their apps use these connections.

`waiting` has the connections that this worker holds, `peers` reaches those of other workers and gateways.
"""
