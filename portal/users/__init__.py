"""Users and groups: the acts on them, rosters, tokens."""
