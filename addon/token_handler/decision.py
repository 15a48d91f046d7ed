"""What was decided about a flow.

The flow's metadata says it, under the keys below: so it survives a reload of the script and a
replay from a file, and mitmproxy's filter `~meta` finds it. Never a secret, which metadata would
save with the flow: those are in `Secrets`.
"""

from dataclasses import dataclass, field

ROLE = "cookie_auth"
"""api, login, sign-out, frontend; of our own: renewal, retry; or one of ANSWERED_HERE."""
ANSWERED_HERE = ("logout", "preflight", "refresh", "refused")
OWN = ("renewal", "retry")
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


@dataclass
class Secrets:
    """What is known of a flow that is under way, in memory only."""

    token: str | None = None
    """The one that its request carries to the API."""
    refresh_token: str | None = None
    """That of its browser, as long as it was not used for this flow."""
    new_cookies: list[str] = field(default_factory=list)
    """Set-Cookie values for whatever answer its browser will get."""
