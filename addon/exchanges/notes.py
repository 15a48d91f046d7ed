"""What is noted about a flow.

The flow's metadata says it, under the keys below: so it survives a reload of the script and a
replay from a file, and mitmproxy's filter `~meta` finds it. Never a secret, which metadata would
save with the flow: those are in the exchange.
"""

from origins import upstreams

KIND = "cookie_auth"
"""Which kind of exchange it is: a name in `router.KINDS`."""
REFUSAL = "cookie_auth_refusal"
"""[code, message] of a refused flow."""
ADDRESS = "cookie_auth_address"
"""The proxy's origin, as the browser addressed it."""
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
PLACE = "cookie_auth_place"
"""Where that stood in the answer, in the words of `cookie_auth_token`."""
RENEWED = "cookie_auth_renewed"
"""The same of the fresh token that took the place of the browser's."""
LEAK = "cookie_auth_leak"
"""Where the API's answer repeats the token."""
DOUBTFUL = "cookie_auth_doubtful"
"""Names of those that also have a value which this proxy has not issued."""
SESSION = "cookie_auth_session"
"""[login, moment, use, names, remembered] of a request that belongs to a login of ours; see
`credentials.logins` and `credentials.companion`."""
HEADER = "cookie_auth_header"
"""The header that the token was put into, where that is not the configured one."""
ADDED = "cookie_auth_added"
"""Names of further headers that the request was given, beside the token's."""
TRANSLATED = "cookie_auth_translated"
"""Where stand-ins stood in the request, and tokens do now; see `credentials.places`."""
TRANSLATED_MESSAGE = "cookie_auth_translated_message"
"""Whether one stood in a WebSocket message."""
STAND_INS = "cookie_auth_stand_ins"
"""What the page got stand-ins for, as it may be told."""
LOGGED_OUT = "cookie_auth_logged_out"
"""Whether the page has logged out at the API itself."""
LEFT_ALONE = "cookie_auth_left_alone"
"""What passed though it looks like a token, as it may be told."""
UPSTREAM = upstreams.NOTED
"""The prefix of the one of `cookie_auth_upstream` that the request goes to, if it is one."""

PREFIX = KIND
"""Of the names of all of them."""
