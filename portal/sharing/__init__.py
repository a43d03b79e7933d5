"""Shares and share codes: the actions, and their models."""
