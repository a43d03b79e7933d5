"""The edge (the proxy in front of the gateway): writes its configuration from the hub's, and checks it."""
