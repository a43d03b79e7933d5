"""The edge: the proxy in front of the gateway. Its configuration, written from the hub's own."""
