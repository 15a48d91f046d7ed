"""A page of the proxy's own origin, in a browser that keeps cookies by name and Path."""

from typing import Any

from support import Client, Headers, Message

USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64) Chrome/142"


class Page:
    """Asks as a browser does: cookies, Sec-Fetch headers, User-Agent."""

    def __init__(self, client: Client, jar: dict[tuple[str, str], str] | None = None) -> None:
        self.client = client
        self.jar = {} if jar is None else jar

    @property
    def cookies(self) -> dict[str, str]:
        """Those that the proxy has set at their usual Path."""
        return {name: value for (name, path), value in self.jar.items() if path in ("/", "/api")}

    def plant(self, name: str, value: str, path: str = "/") -> None:
        """What a script of another port of the same host does with `document.cookie`."""
        self.jar[name, path] = value

    def request(
        self,
        method: str,
        target: str,
        headers: Headers | None = None,
        body: str | None = None,
        **more: str,
    ) -> Message:
        fields = {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors", "sec-fetch-dest": ""}
        fields |= {"user-agent": USER_AGENT}
        fields |= {name.replace("_", "-"): value for name, value in more.items()}
        cookie = self._cookie(target)
        sent = [(name, value) for name, value in fields.items() if value]
        sent += [*(headers or []), *([("cookie", cookie)] if cookie else [])]
        got = self.client.request(method, target, sent, body)
        self.keep(got)
        return got

    def get(self, target: str, **more: Any) -> Message:
        return self.request("GET", target, **more)

    def post(self, target: str, body: str = "{}", **more: Any) -> Message:
        return self.request("POST", target, body=body, **more)

    def keep(self, got: Message) -> None:
        """Do to the jar what an answer's Set-Cookie fields say."""
        for field in got.all("set-cookie"):
            pair, *attributes = field.split("; ")
            if "Partitioned" in attributes:
                continue  # a cookie of its own; see test_pages_ask.py
            name, _, value = pair.partition("=")
            path = next(a[5:] for a in attributes if a.startswith("Path="))
            self.jar.pop((name, path), None)
            if "Max-Age=0" not in attributes:
                self.jar[name, path] = value

    def _cookie(self, target: str) -> str:
        """RFC 6265bis, 5.1.4 and 5.8.3: by Path, the longest first."""
        path = target.partition("?")[0]
        fitting = [
            (at, name, value)
            for (name, at), value in self.jar.items()
            if path == at or path.startswith(at if at.endswith("/") else at + "/")
        ]
        fitting.sort(key=lambda cookie: -len(cookie[0]))
        return "; ".join(f"{name}={value}" for _, name, value in fitting)
