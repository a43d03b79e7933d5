"""The stores: one per noun, each a few verbs over Redis keys, each key layout on one page (`keys`).

Owns: what is atomic with what. Refuses to know redis-py (that is `state.redis.client`) and the rules on records.
"""
