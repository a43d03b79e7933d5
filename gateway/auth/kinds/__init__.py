"""The kinds of sign-in provider that come with Towpath, described: cheap to import, for every process of the hub."""
