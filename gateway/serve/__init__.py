"""`towpath serve`: all of the hub on one machine, as one supervised tree of processes.

Owns: the processes. Refuses to know what they do.
"""
