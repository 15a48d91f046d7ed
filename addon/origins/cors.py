"""CORS answers of our own for the allowed origins; the API's are never added to."""

from messages import answers
from mitmproxy import http

_PREFIX = b"access-control-"


def asked_method(request: http.Request) -> str | None:
    """The method that a CORS-preflight request asks for (Fetch, 4.8); None for another request.

    In upper case, as mitmproxy gives that of the request which follows.
    """
    named = request.headers.get("access-control-request-method")
    return named.upper() if named is not None and request.method == "OPTIONS" else None


def answer_cors(response: http.Response, origin: str | None, *, varies: bool) -> None:
    """Replace the API's CORS headers by our own, in place: `origin` (if any) may read the answer.

    `varies` adds `Vary: Origin`, which an answer needs once it depends on who asks.
    """
    exposed = ""
    if theirs := [name for name, _ in response.headers.fields if _is_cors(name)]:
        exposed = response.headers.get("access-control-expose-headers", "")
        for name in theirs:
            response.headers.pop(name, None)
    if varies:
        named = {name.strip().lower() for name in response.headers.get("vary", "").split(",")}
        if "origin" not in named:
            response.headers.add("Vary", "Origin")
    if origin:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Allow-Credentials"] = "true"
        if exposed and "*" not in exposed:
            response.headers["Access-Control-Expose-Headers"] = exposed


def _is_cors(name: bytes) -> bool:
    return name[: len(_PREFIX)].lower() == _PREFIX


def preflight_answer(request: http.Request, *, lasts: bool) -> http.Response:
    """Allow the origin that asks what it asks for (Fetch, 4.8); for this once, unless it `lasts`.

    With credentials, `*` has no meaning in these headers (Fetch, 3.3.4), so they echo the request.
    What lasts holds for other methods, too: allowed headers are kept apart from them (4.9).
    """
    response = answers.make(204)
    asked, granted = request.headers, response.headers
    answer_cors(response, asked["origin"], varies=True)
    granted["Access-Control-Max-Age"] = "600" if lasts else "0"
    granted["Access-Control-Allow-Methods"] = asked["access-control-request-method"]
    if "access-control-request-headers" in asked:
        granted["Access-Control-Allow-Headers"] = asked["access-control-request-headers"]
    if lasts and asked.get("access-control-request-private-network") == "true":
        granted["Access-Control-Allow-Private-Network"] = "true"
    return response
