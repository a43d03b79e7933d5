"""The configuration as a value: its tables, and rules on URLs, addresses and origins."""
