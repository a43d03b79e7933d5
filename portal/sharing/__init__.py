"""Shares and share codes: the acts, and how they are told."""
