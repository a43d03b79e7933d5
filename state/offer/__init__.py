"""What may be picked for a start, and what a pick comes to: catalog, limits, options, choices. Pure."""
