"""Secrets in files and in the store: authenticated encryption, and files that only one account can read."""
