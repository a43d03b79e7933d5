"""The stores: one per kind of record, each with a few methods over Redis keys (`keys`).

Owns which changes are atomic together. Does not know redis-py (see `state.redis.client`) or the rules on records.
"""
