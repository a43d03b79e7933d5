"""The options of a start and their validation: catalog, limits, options and choices. Pure."""
