"""The answers that the proxy gives itself, and the exception that asks for one."""

import html
import json
from collections.abc import Mapping
from email.utils import formatdate

from mitmproxy import http
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

STATUS_OF = {
    "bad_request": 400,
    "bad_cookie": 401,
    "cross_origin": 403,
    "host_not_allowed": 403,
    "outside_prefix": 404,
    "internal": 500,
    "login_unreadable": 502,
    "token_leak": 502,
    "token_not_found": 502,
    "upstream_unreachable": 502,
    "addon_not_loaded": 503,
    "upstream_timeout": 504,
}
"""Every refusal that there is: its code in the JSON body, and its HTTP status."""

CHALLENGE = 'Cookie realm="cookie-auth"'
"""What a 401 asks for (RFC 9110, 15.5.2), by a scheme for which no browser has a dialog."""

ABOUT_THE_ANSWER = ("login_unreadable", "token_leak", "token_not_found")
"""Those of an answer of the API, which has got the request."""


class Refused(Exception):
    """Raised to answer with a refusal instead of passing a message on.

    `code` is a key of STATUS_OF. `message` is a sentence for the developer who sees the answer; it
    must never hold a token, a cookie's value or anything else that the API's body said.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message

    @classmethod
    def cross_origin(cls, origin: object = None) -> "Refused":
        """What a page of another origin gets that would act, log in or log out.

        `origin` is the page's, where the request says it.
        """
        named = str(origin or "<its origin>")
        return cls(
            "cross_origin",
            "A page of another origin may not do this. If it is yours:"
            f" --set cookie_auth_allowed_origins={named}; if it is your front end's, open it"
            f" here instead: ./run.sh URL --frontend {named}",
        )


def make(
    status: int, body: str | bytes = b"", headers: Mapping[str, str] | None = None
) -> http.Response:
    """An answer of the proxy's own, with its Date (RFC 9110, 6.6.1)."""
    response = http.Response.make(status, body, headers or {})
    with_date(response)
    if status == 204:
        del response.headers["content-length"]  # RFC 9110, 8.6
    return response


def with_date(response: http.Response) -> None:
    """Say when this is answered, if it does not say it, in place."""
    if "date" not in response.headers:
        response.headers["Date"] = formatdate(usegmt=True)


def json_answer(
    method: str,
    status: int,
    payload: Mapping[str, object],
    headers: Mapping[str, str] | None = None,
) -> http.Response:
    """A JSON response to a request with this method, never stored by a cache."""
    response = make(
        status,
        json.dumps(payload),
        {"Content-Type": "application/json", "Cache-Control": "no-store", **(headers or {})},
    )
    return without_body_for_head(method, response)


def without_body_for_head(method: str, response: http.Response) -> http.Response:
    """Drop the body where RFC 9110, 9.3.2 forbids one; Content-Length goes on naming its size.

    mitmproxy would send the body, and the client would read it as the start of the next response.
    """
    if method.upper() == "HEAD":
        response.raw_content = b""
    return response


def refusal(method: str, code: str, message: str) -> http.Response:
    status = STATUS_OF[code]
    headers = {"WWW-Authenticate": CHALLENGE} if status == 401 else {}
    return json_answer(method, status, {"error": code, "message": message}, headers)


def frontend_down(frontend: str, code: str, reason: str) -> http.Response:
    """The page for a person whose front end does not answer; it reloads until it does."""
    page = _FRONTEND_DOWN.format(frontend=html.escape(frontend), reason=html.escape(reason))
    headers = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"}
    return make(STATUS_OF[code], page, headers)


_FRONTEND_DOWN = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="refresh" content="2">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Waiting for the front end</title>
<style>
  :root {{ color-scheme: light dark }}
  body {{ font: 1rem/1.6 system-ui, sans-serif; max-width: 40rem; margin: 4rem auto }}
  code {{ font-family: ui-monospace, monospace }}
</style>
<h1>Waiting for the front end</h1>
<p>cookie-auth cannot reach your dev server at <code>{frontend}</code>: {reason}.</p>
<p>Most dev servers start with <code>npm run dev</code> in the front end's folder. This page tries
again every two seconds.</p>
</html>
"""


def logged_out(
    method: str, headers: http.Headers, redirect_to: str, upstream: str | None
) -> http.Response:
    """The answer to a logout: a redirect for a navigation, JSON for a script.

    `upstream` says what became of the logout at the API, None if it was not told.
    """
    if is_navigation(headers):
        return make(303, b"", {"Location": redirect_to, "Cache-Control": "no-store"})
    told = {} if upstream is None else {"upstream": upstream}
    return json_answer(method, 200, {"loggedIn": False, **told})


def is_navigation(headers: http.Headers) -> bool:
    """Whether a person is going to look at the answer: a link or a form, not `fetch`.

    Sec-Fetch-Mode says so (Fetch Metadata, 2.2); without it, an Accept that prefers HTML to JSON.
    """
    if headers.get("sec-fetch-mode") == "navigate":
        return True
    accept = parse_accept_header(headers.get("accept"), MIMEAccept)
    return bool(accept["text/html"] > accept["application/json"])
