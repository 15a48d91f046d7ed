"""What the scripts of a page could get hold of, and whether a token is in it."""

import base64
import json
import re
from collections.abc import Callable, Iterable
from urllib.parse import unquote

from playwright.sync_api import BrowserContext, Page, Request, Response, WebSocket

# Storage, IndexedDB, caches, cookies, DOM, form fields, addresses, and what hangs on `window`.
REACHABLE = r"""async () => {
  const found = {}
  const note = (place, text) => { found[place] = (found[place] ?? '') + '\n' + text }
  for (const name of ['localStorage', 'sessionStorage'])
    for (const [key, value] of Object.entries(window[name])) note(name, `${key}=${value}`)
  note('document.cookie', document.cookie)
  note('addresses', [location.href, document.referrer, window.name].join('\n'))
  note('addresses', performance.getEntries().map(entry => entry.name).join('\n'))
  note('DOM', document.documentElement.outerHTML)
  for (const field of document.querySelectorAll('input, textarea')) note('DOM', field.value)
  const done = request => new Promise((good, bad) => {
    request.onsuccess = () => good(request.result)
    request.onerror = request.onblocked = () => bad(request.error)
  })
  const text = value => {
    try { return JSON.stringify(value) ?? '' } catch { return String(value) }
  }
  for (const { name } of await indexedDB.databases()) {
    const database = await done(indexedDB.open(name))
    for (const store of database.objectStoreNames) {
      const objects = database.transaction(store).objectStore(store)
      note('IndexedDB', text(await done(objects.getAllKeys())))
      note('IndexedDB', text(await done(objects.getAll())))
    }
    database.close()
  }
  if (window.caches) for (const name of await caches.keys()) {
    const cache = await caches.open(name)
    for (const request of await cache.keys()) {
      note('caches', request.url)
      const answer = await cache.match(request)
      if (/json|text/.test(answer?.headers.get('content-type'))) note('caches', await answer.text())
    }
  }
  const seen = new Set([window, document])
  let level = [window]
  for (let depth = 0; depth < 6 && seen.size < 200_000; depth++) {
    const next = []
    for (const object of level) {
      let keys = []
      try { keys = Reflect.ownKeys(object) } catch { }
      for (const key of keys.slice(0, 500)) {
        let value
        try { value = object[key] } catch { continue }
        if (typeof value === 'string' && value.length < 20_000) note('window', value)
        else if (value && /object|function/.test(typeof value) && !(value instanceof Node)
            && !seen.has(value)) { seen.add(value); next.push(value) }
      }
    }
    level = next
  }
  return found
}"""

STAND_IN = re.compile(r"stand-[\w.~-]{37}")
JWT = re.compile(r"eyJ[\w-]+\.[\w-]+\.([\w-]+)")

Tokens = Callable[[], Iterable[str]]


class Watch:
    """Everything that the pages of this context get, from now on; `tokens` are the real ones."""

    def __init__(self, context: BrowserContext, tokens: Tokens) -> None:
        self.tokens = tokens
        self.got: list[tuple[str, str]] = []
        """Each thing with the place where it was."""
        self.not_read: list[str] = []
        """Answers whose body could not be read: streams that were cut, and the like."""
        context.on("response", self._response)
        context.on("requestfinished", self._finished)
        context.on("page", lambda page: page.on("websocket", self._websocket))

    def _response(self, response: Response) -> None:
        self.got.append(("address", unquote(response.url)))
        if not response.from_service_worker:
            for header in response.headers_array():
                self._header(response.url, header["name"], header["value"])

    def _header(self, url: str, name: str, value: str) -> None:
        if name.lower() != "set-cookie":
            self.got.append((f"header {name} of {url}", unquote(value)))
            return
        for field in value.split("\n"):
            if "; httponly" not in field.lower():
                self.got.append((f"cookie of {url}", unquote(field)))

    def _finished(self, request: Request) -> None:
        response = request.response()
        if not response or response.status in (101, 204, 304) or 300 <= response.status < 400:
            return
        kind = response.headers.get("content-type", "")
        if not re.match(r"(image|font|audio|video)/|text/css", kind):
            try:
                self.got.append((f"body of {request.url}", response.text()))
            except Exception:  # not text, or gone with its page
                self.not_read.append(request.url)

    def _websocket(self, socket: WebSocket) -> None:
        def received(frame: str | bytes) -> None:
            text = frame if isinstance(frame, str) else frame.decode("utf-8", "replace")
            self.got.append((f"message of {socket.url}", text))

        socket.on("framereceived", received)

    def reachable(self, page: Page) -> dict[str, str]:
        """What a script of this page reads now, by place."""
        found: dict[str, str] = page.evaluate(REACHABLE)
        return found

    def places_of_tokens(self, page: Page) -> list[str]:
        """Where a real token is, was seen, or can be reached; it should be nowhere."""
        places = [*self.got, *self.reachable(page).items()]
        needles = {needle for token in self.tokens() for needle in secrets_of(token)}
        assert needles, "no token was handed out yet"
        return sorted({place for place, text in places if any(n in text for n in needles)})


def secrets_of(token: str) -> set[str]:
    """What of this token must not be seen: a JWT's signature, since its claims may; or it all."""
    match = JWT.fullmatch(token)
    secret = match[1] if match else token
    shifted = [base64.b64encode(b"." * by + secret.encode()).decode() for by in (0, 1, 2)]
    encoded = {text[4:-4] for text in shifted}
    return {secret, json.dumps(secret)[1:-1], secret.replace("/", "\\/")} | encoded


def is_stand_in(text: str) -> bool:
    """Whether this is an opaque stand-in, or a JWT that has one for its signature."""
    match = JWT.fullmatch(text)
    return bool(STAND_IN.fullmatch(match[1] if match else text))
