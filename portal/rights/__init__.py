"""Whether a caller may do something, and the descriptions of scopes."""
