"""What the hooks of `cookie_auth.py` call.

Pure functions over HTTP messages: settings and a message go in, a decision comes out. Nothing here
opens a socket or reads `mitmproxy.ctx`, so each module can be understood and tested by itself.
"""
