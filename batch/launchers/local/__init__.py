"""The launcher for the hub's own machine."""
