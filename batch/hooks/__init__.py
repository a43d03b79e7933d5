"""Hooks of the site: run before a submit, when a server is ready, and after its end (docs/plug-ins.md).

A hook runs in a process of its own, with JSON on stdin and stdout and a time limit. So a hook that fails, hangs or
crashes affects one server's start at most, and never the controller.
"""
