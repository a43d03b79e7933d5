"""How a gateway on its own data directory gets the hub's certificates, and keeps them fresh."""
