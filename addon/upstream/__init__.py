"""What lies between the hooks and the upstream servers: sockets, and mitmproxy's HTTP layer."""
