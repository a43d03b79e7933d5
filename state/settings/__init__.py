"""From files and the environment to a checked configuration."""
