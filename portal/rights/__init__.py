"""Whether a caller may do something, and how a scope reads."""
