"""Servers: started, stopped, reported, shown, routed."""
