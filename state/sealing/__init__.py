"""Secrets at rest and in the store: authenticated encryption, and files that one account alone reads."""
