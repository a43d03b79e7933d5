"""What all handlers share: services, URLs, templates, static files, and the interfaces that the gateway implements."""
