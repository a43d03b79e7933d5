"""`towpath serve`: the whole hub on one machine, as a supervised tree of processes.

Owns the processes. Does not know what they do.
"""
