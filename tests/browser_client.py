"""A client that keeps the proxy's cookies, as a browser and its like do."""

import json
import random
import re

from support import Client, Message, Upstream, answer


class Browser:
    """Sends the cookies that it was given to any of its clients, with no other sign of a browser.

    A cookie is deleted by a field with the Path that it was set with.
    """

    def __init__(self, *clients: Client) -> None:
        self.clients = clients
        self.cookies: dict[str, str] = {}
        self._paths: dict[str, str] = {}

    def request(self, method: str, target: str, body: str = "{}", **headers: str) -> Message:
        client = random.choice(self.clients)
        got = client.request(method, target, [("Cookie", self.cookie)], body, **headers)
        self.keep(got)
        return got

    @property
    def cookie(self) -> str:
        """The Cookie field's value."""
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    @property
    def tokens(self) -> dict[str, str]:
        """All cookies but the companions, which hold no secret."""
        return {name: value for name, value in self.cookies.items() if not name.endswith("-login")}

    def keep(self, got: Message) -> None:
        """Do as an answer's Set-Cookie fields say."""
        for field in got.all("set-cookie"):
            name, _, value = field.partition(";")[0].partition("=")
            if "; Partitioned" in field:
                continue  # a cookie of its own; see test_pages_ask.py
            match = re.search("; Path=([^;]*)", field)
            path = match[1] if match else "/"
            if "; Max-Age=0" not in field:
                self.cookies.pop(name, None)
                self.cookies[name], self._paths[name] = value, path
            elif self._paths.get(name, path) == path:
                self.cookies.pop(name, None)


def log_in(client: Client, upstream: Upstream, token: str = "sekret", path: str = "/login") -> str:
    """The Cookie field of a browser that has logged in, and was given this token.

    The API goes on as before, and has seen nothing of it.
    """
    respond, received = upstream.respond, len(upstream.received)
    upstream.respond = lambda request: answer(json.dumps({"authToken": token}))
    browser = Browser(client)
    assert browser.request("POST", path).body == b'{"loggedIn": true}'
    upstream.respond = respond
    del upstream.received[received:]
    return browser.cookie
