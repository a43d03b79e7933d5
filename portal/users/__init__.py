"""Actions on users and groups, rosters and tokens."""
