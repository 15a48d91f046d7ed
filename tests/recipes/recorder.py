"""A mitmproxy script that notes a server's answers: JSON lines in the file that `recorded` names.

It stands between the proxy and a server that nobody here wrote, and is how a test learns the tokens
that the server hands out.
"""

import json
from pathlib import Path

from mitmproxy import ctx, http
from mitmproxy.addonmanager import Loader


class Recorder:
    def load(self, loader: Loader) -> None:
        loader.add_option("recorded", str, "", "the file")

    def _note(self, flow: http.HTTPFlow, body: str) -> None:
        assert flow.response
        noted = {
            "request": f"{flow.request.method} {flow.request.path}",
            "sent": [*map(list, flow.request.headers.items(multi=True))],
            "form": flow.request.get_text(strict=False) or "",
            "status": flow.response.status_code,
            "headers": [*map(list, flow.response.headers.items(multi=True))],
            "body": body,
        }
        with Path(ctx.options.recorded).open("a") as file:
            file.write(json.dumps(noted) + "\n")

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        assert flow.response
        if flow.response.headers.get("content-type", "").startswith("text/event-stream"):
            flow.response.stream = True

    def response(self, flow: http.HTTPFlow) -> None:
        assert flow.response
        kind = flow.response.headers.get("content-type", "")
        readable = "json" in kind or "text/plain" in kind
        self._note(flow, (flow.response.get_text(strict=False) or "") if readable else "")

    def websocket_message(self, flow: http.HTTPFlow) -> None:
        assert flow.websocket
        message = flow.websocket.messages[-1]
        if message.is_text and not message.from_client:
            self._note(flow, message.text)


addons = [Recorder()]
