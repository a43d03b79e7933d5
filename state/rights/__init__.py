"""Who is asking, and what they may do: identities, roles, scopes, OAuth clients."""
