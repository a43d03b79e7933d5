"""What every handler shares: services, URLs, templates, static files, and the verbs that the gateway supplies."""
