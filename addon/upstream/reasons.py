"""Why an upstream gave no answer, in words for the person who started the proxy.

mitmproxy's messages, and the system's, become a reason that says what to do; the code says how it
is answered. A message of which nothing is known may quote the wire, and is not repeated.
"""

import re
from typing import NamedTuple

from mitmproxy import http
from mitmproxy.net.server_spec import ServerSpec
from mitmproxy.proxy.mode_specs import ReverseMode
from origins import upstreams

from upstream import addresses

BAD_REQUEST, UNREACHABLE, TOO_LATE = "bad_request", "upstream_unreachable", "upstream_timeout"
NO_ANSWERS = (UNREACHABLE, TOO_LATE)

TOO_LONG = "it is too long to be read"
"""The reason for a flow whose request or answer went over its limit."""
NO_HANDSHAKE = f"it was silent for {addresses.SECONDS_TO_CONNECT} seconds after the connection"
NO_ANSWER = "no answer in time"
CLOSED = "server closed connection"
"""What mitmproxy says when an HTTP/1 server has closed before an answer (`_http1.py`)."""
SPEAKS_TLS = "it speaks https, not http"
UNTRUSTED = "Certificate verify failed"
WANTS_PASSWORD = "Upstream proxy refused: 407"
NO_SOCKETS = "it speaks HTTP/2, over which mitmproxy passes no WebSocket, and nothing without TLS"


class Upstream(NamedTuple):
    """Who did not answer: what its user has named, and how."""

    scheme: str
    authority: str
    option: str
    """What goes before its URL on the command line."""
    proxy: str
    """The proxy on the way to it; empty where there is none."""

    @classmethod
    def of(cls, flow: http.HTTPFlow) -> "Upstream":
        """That of a flow in a reverse mode: its API, a further one if that is noted, the front end
        otherwise.
        """
        request, mode, via = flow.request, flow.client_conn.proxy_mode, flow.server_conn.via
        is_api = isinstance(mode, ReverseMode) and mode.address == (request.host, request.port)
        option = "--mode reverse:" if is_api else "cookie_auth_frontend="
        if prefix := flow.metadata.get(upstreams.NOTED):
            option = f"{upstreams.NAME}={prefix}="
        authority = f"{f'[{request.host}]' if ':' in request.host else request.host}:{request.port}"
        return cls(request.scheme, authority, option, _described(request.scheme, via))


def _described(scheme: str, via: ServerSpec | None) -> str:
    return f"the proxy {via[1][0]}:{via[1][1]} ({scheme.upper()}_PROXY)" if via else ""


SOMEWHERE = Upstream("http", "", "", "")
"""Where no message speaks of an upstream."""

# What mitmproxy and the system say of a connection, or of an option. Other messages may quote.
_QUOTES_NOTHING = re.compile(
    r"\[Errno|Multiple exceptions|TLS|The remote server|"
    r"(?:Request|Response) body exceeds|mitmproxy received an HTTP CONNECT|"
    r"[\w ]*(?:connection|stream)[\w ]*$",
    re.IGNORECASE,
)
# What mitmproxy (`net/http/validate.py`, `net/http/http1/read.py`) and h11 find wrong.
_RULES = re.compile(
    r"invalid header name|message with both transfer-encoding and content-length headers|"
    r"unexpected HTTP transfer-encoding +for (?:request|HTTP/\d\.\d|response with status code \d+)|"
    r"(?:multiple|invalid|unknown) (?:transfer-encoding|content-length) headers?|"
    r"Invalid headers|Invalid header line|Invalid request scheme|Invalid HTTP/[23] \w+ headers|"
    r"Bad HTTP (?:request|response) line|illegal chunk header|malformed chunk footer"
)

_NETWORK = (
    "see whether the network or VPN is up, {option}URL is right, and this network wants a proxy"
    " ({variable})"
)
_TRUST = (
    "name the file of its CA with --set ssl_verify_upstream_trusted_ca=FILE, or check no"
    " certificate with --ssl-insecure"
)
_PASSWORD = "give it a user and password: {variable}=http://USER:PASSWORD@HOST:PORT"

_WORDS = tuple(
    (re.compile(pattern, re.DOTALL), words)
    for pattern, words in (
        # addresses.py, and the limits of connections.py
        (f"{addresses.REFUSED}$",
         addresses.REFUSED + "; start it, or correct its address: {option}URL"),
        (f"({addresses.UNKNOWN_NAME}|{addresses.NO_NAME_SERVER}|{addresses.NO_WAY})$",
         "{0}; " + _NETWORK),
        (f"{addresses.TOO_SLOW}$", addresses.TOO_SLOW + "; " + _NETWORK),
        (addresses.OTHERWISE + r"([\w ,/()-]+)$", addresses.OTHERWISE + "{0}"),
        (f"{NO_HANDSHAKE}$", NO_HANDSHAKE + "; see whether {option}URL is right"),
        (f"{NO_ANSWER}$", "it took longer than cookie_auth_answer_timeout allows"),
        (f"{NO_SOCKETS}$", NO_SOCKETS),
        # Proxies
        (r"Upstream proxy .*refused.*: 407", "it wants to know who asks (407); " + _PASSWORD),
        (r"Upstream proxy .*refused.*: (\d{3})", "it refused to connect ({0})"),
        # TLS (mitmproxy `proxy/layers/tls.py`)
        (UNTRUSTED + r": (hostname mismatch|IP address mismatch)",
         "its certificate is for another name ({0}); correct its address: {option}URL, or check no"
         " certificate with --ssl-insecure"),
        (UNTRUSTED + r": ([\w -]+)",
         "its certificate is not trusted ({0}); " + _TRUST),
        (r"The remote server does not speak TLS|.*wrong version number|.*packet length too long",
         "it speaks http, not https; say {as_other}"),
        (r"The remote server and mitmproxy cannot agree on a TLS version",
         "it speaks an old TLS only; allow that with --set tls_version_server_min=TLS1"),
        (r"OpenSSL .*certificate required", "it wants a certificate of yours; name it with --set"
         " client_certs=FILE"),
        (r"OpenSSL .*no application protocol", "it speaks no HTTP version that was offered"
         " (WebSockets need HTTP/1.1)"),
        (r"OpenSSL .*'([\w/ -]+)'\)", "TLS with it failed ({0})"),
        # HTTP/1 (mitmproxy `_http1.py`), which got what is no answer
        (f"{SPEAKS_TLS}$|" + r"unexpected server response: b['\"]\\x15\\x03",
         SPEAKS_TLS + "; say {as_other}"),
        (r"unexpected server response: b['\"]\\x00\\x00.\S{0,3}\\x04",
         NO_SOCKETS),
        (r"connection closed$",
         "it closed the connection at once; if it speaks {other}, say {as_other}"),
        (f"{CLOSED}$", "it closed the connection without an answer"),
        (r"HTTP/1 protocol error: peer closed connection",
         "it closed the connection in the middle of its answer"),
        (r"HTTP/2 connection closed", "it ended the HTTP/2 connection"),
    )
)  # fmt: skip


def code_of(message: str, code: str) -> str:
    """The code for a failure: one of time is a code of its own."""
    late = (addresses.TOO_SLOW, NO_HANDSHAKE, NO_ANSWER)
    return TOO_LATE if code == UNREACHABLE and message in late else code


def describe(message: str, code: str = UNREACHABLE, upstream: Upstream = SOMEWHERE) -> str:
    """The reason for a failure, from mitmproxy's message, with nothing from the wire in it.

    It goes on after "No answer from https://api.example.com: ", and has no full stop.
    """
    other = "http" if upstream.scheme == "https" else "https"
    as_other = f"{upstream.option}{other}://{upstream.authority}"
    for pattern, words in _WORDS:
        if code != BAD_REQUEST and (match := pattern.match(message)):
            reason = words.format(
                *match.groups(),
                option=upstream.option,
                other=other,
                as_other=as_other,
                variable=f"{upstream.scheme.upper()}_PROXY",
            )
            on_the_way = message.startswith("Upstream proxy") or message in _OF_THE_FIRST_HOP
            return f"{upstream.proxy}: {reason}" if upstream.proxy and on_the_way else reason
    if message == TOO_LONG or _QUOTES_NOTHING.match(message):
        return re.sub(r"\[Errno -?\d+\] ", "", message).rstrip(".")
    what = "it is no HTTP request" if code == BAD_REQUEST else "what it sent is no HTTP answer"
    rule = broken_rule(message)
    return f"{what} ({rule})" if rule else what


_OF_THE_FIRST_HOP = (
    *(addresses.REFUSED, addresses.UNKNOWN_NAME, addresses.NO_NAME_SERVER, addresses.NO_WAY),
    addresses.TOO_SLOW,
)
"""Said of a proxy, if there is one: the upstream itself is not connected to."""


def broken_rule(message: str) -> str:
    """The rule that a message of mitmproxy's says was broken, in its words; empty if unknown."""
    match = _RULES.search(_QUOTED.sub("", message))
    return " ".join(match[0].split()) if match else ""


# A bytes literal, as `repr` writes it; or text, which is what `Headers.get` gives.
_QUOTED = re.compile(
    r"""(?:b|(?<=header: )|(?<=encoding ))(['"])(?:\\.|(?!\1).)*\1|(?<=request scheme: ).+""",
    re.DOTALL,
)


def without_quotations(text: str) -> str:
    """A message of mitmproxy's without what it quotes from the wire."""
    return _QUOTED.sub("(left out)", text)
