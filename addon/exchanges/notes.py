"""What is noted about a flow.

The flow's metadata says it, under the keys below: so it survives a reload of the script and a
replay from a file, and mitmproxy's filter `~meta` finds it. Never a secret, which metadata would
save with the flow: those are in the exchange.
"""

KIND = "cookie_auth"
"""Which kind of exchange it is: a name in `router.KINDS`."""
REFUSAL = "cookie_auth_refusal"
"""[code, message] of a refused flow."""
TRUSTED = "cookie_auth_trusted"
"""Whether the origin rule lets the request use the token."""
INJECTED = "cookie_auth_injected"
"""Whether the request was given the token."""
COOKIES = "cookie_auth_cookies"
"""Names of the auth cookies that the browser has."""
KEPT_BACK = "cookie_auth_kept_back"
"""Names of the browser's other cookies that did not go to the API."""
ASKED_BY = "cookie_auth_asked_by"
"""The browser's method for a logout that the API is told of."""
CORS = "cookie_auth_cors"
"""The allowed origin that may read the answer."""
RECEIVED = "cookie_auth_received"
"""What of the browser's request was changed; see `received`."""
SENT = "cookie_auth_sent"
"""Size and expiry of the token that went to the API; see `lifetime.size_and_expiry`."""
CAPTURED = "cookie_auth_captured"
"""The same of a token that came from the API."""
RENEWED = "cookie_auth_renewed"
"""The same of the fresh token that took the place of the browser's."""
LEAK = "cookie_auth_leak"
"""Where the API's answer repeats the token."""
DOUBTFUL = "cookie_auth_doubtful"
"""Names of those that also have a value which this proxy has not issued."""
SESSION = "cookie_auth_session"
"""[login, moment] of a request that belongs to a login of ours; see `credentials.logins`."""

PREFIX = KIND
"""Of the names of all of them."""
