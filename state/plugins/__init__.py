"""Plug-ins: what other packages bring by entry point, described without running any of it (docs/plug-ins.md)."""
