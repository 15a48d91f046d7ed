"""The addon that closes the proxy while `cookie_auth.py` cannot be loaded.

When an edited script has a syntax error, or its file is gone, mitmproxy unloads the old one and
lets traffic pass as it is (`mitmproxy/addons/script.py`). This one answers everything with 503.
"""

from messages import answers
from mitmproxy import http
from mitmproxy.proxy import mode_specs


class Closed:
    """Refuses every request and every answer that is still under way. Cannot be configured."""

    name = "cookie_auth_closed"

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        if is_reverse(flow):
            flow.request.stream = False
            flow.request.headers.pop("cookie", None)

    def request(self, flow: http.HTTPFlow) -> None:
        if is_reverse(flow):
            flow.response = _not_loaded(flow)

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        if is_reverse(flow) and flow.response:
            flow.response.stream = False

    def response(self, flow: http.HTTPFlow) -> None:
        if is_reverse(flow):
            flow.response = _not_loaded(flow)

    def websocket_message(self, flow: http.HTTPFlow) -> None:
        if is_reverse(flow) and flow.websocket:
            flow.websocket.messages[-1].drop()


def is_reverse(flow: http.HTTPFlow) -> bool:
    """Whether the flow came in through a `--mode reverse:URL`, so that it has a fixed upstream."""
    return isinstance(flow.client_conn.proxy_mode, mode_specs.ReverseMode)


def _not_loaded(flow: http.HTTPFlow) -> http.Response:
    return answers.refusal(
        flow.request.method,
        "addon_not_loaded",
        "cookie_auth.py cannot be loaded at the moment; mitmproxy's log says why. Nothing is"
        " forwarded until it loads again.",
    )
