"""Runs servers: the controller, the launchers, the job scripts and the starter.

Owns how a server gets from its target to its status. Does not know HTTP requests or pages, and shares only `state` with
the web side.
"""
