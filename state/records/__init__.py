"""The records, and the rules on them. Pure."""
