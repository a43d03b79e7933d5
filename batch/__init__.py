"""How a server comes to run somewhere: the controller, the launchers, the job scripts, the starter.

Owns: the way from a server's target to its status. Refuses to know HTTP requests and pages: it meets the web side
only in `state`.
"""
