"""A browser's cache keeps apart what was answered to different logins, and to none.

Three things do it, and none does without the others:

- `Vary` names what an answer depends on, so that the cache gives it to no other request without
  asking again (RFC 9111, 4.1);
- when the cache asks again it names the entity tag of what it holds, and the API, whose tag may be
  nothing but a version, would confirm it with 304 for whoever asks (RFC 9111, 4.3.1). So each login
  has entity tags of its own: `"33a6"` is `"~k3JdQ0aZ~33a6"` in the browser. On its way to the API
  the login's own part is taken out again, and a tag with another's goes no further;
- Chromium's renderers keep images, scripts and styles in a cache of their own, which knows nothing
  of cookies, and hands them to the next user's pages in that tab as long as they are fresh. So what
  is not for `fetch` is fresh for no time: `no-cache`, "ask each time" (RFC 9111, 5.2.2.4).

An answer that has a Last-Modified but no tag gets one that carries the date,
`W/"~k3JdQ0aZ@Wed,_21_Oct_2015_07:28:00_GMT"`, since a date alone does not tell whose it is.

`mine` is what marks a login's tags: eight characters of the base64url alphabet.
"""

import re
from dataclasses import dataclass

from mitmproxy import http

NOBODY = "-nobody-"
"""The `mine` of what is asked and answered without a token."""

# What tells one user from another, and our own pages from foreign ones; see `origins.rules`.
_TOLD_BY = ("Cookie", "Sec-Fetch-Site", "Sec-Fetch-Dest")
_TOLD_OTHERWISE = ("Origin", "Referer")  # where a browser sends no fetch metadata

_CONDITIONAL = frozenset((b"if-none-match", b"if-match", b"if-range"))

# RFC 9110, 8.8.3, and what servers send beside it: blanks inside, and tags without quotes. Not the
# `*` alone, which would come back as "whatever you have".
_ETAG = re.compile(r'((?:W/)?")[^"\x00-\x1f\x7f]*"|(?:W/)?[^"\x00-\x20\x7f,*]+')
_LISTED = re.compile(r'(?:W/)?"[^"]*"|[^\s,]+')  # a tag may have commas in it
_OURS = re.compile(r'((?:W/)?"?)~([\w-]{8})([~@])(.*)', re.ASCII | re.DOTALL)
_DATE = re.compile(r"[A-Za-z0-9 ,:+-]+")  # nothing that could end a field, once it comes back

_NO_MATCH = '"tag-of-another-login"'


def own_validators(headers: http.Headers, mine: str) -> None:
    """Give the API its own entity tags back in a request's headers, in place; those of another
    login are taken out.

    Tags without a mark stay: pages read them in a body (OData, CouchDB), and no cache has them.
    """
    if _CONDITIONAL.isdisjoint([name.lower() for name, _ in headers.fields]):
        return
    if "if-none-match" in headers:
        tags = _Tags.read(headers["if-none-match"], mine)
        if tags.has_foreign or tags.date:
            headers.pop("if-modified-since", None)  # says the same of the same answer
        if tags.date and not tags.own:
            headers["If-Modified-Since"] = tags.date
        tags.put(headers, "If-None-Match")
    if "if-match" in headers:
        tags = _Tags.read(headers["if-match"], mine)
        if tags.date and not tags.own:
            headers["If-Unmodified-Since"] = tags.date
        elif not tags.own and tags.has_foreign:
            # Without its condition a PUT would overwrite what its user has not seen; so it gets
            # one that fails: 412.
            tags.own.append(_NO_MATCH)
        tags.put(headers, "If-Match")
    if "if-range" in headers:
        tags = _Tags.read(headers["if-range"], mine)
        if len(tags.own) == 1 and tags.own[0].endswith('"'):
            tags.put(headers, "If-Range")
        else:
            # Another login's, or a date, of which nobody can tell whose: the whole file, or else
            # the cache might join halves of two users' files.
            del headers["if-range"]
            headers.pop("range", None)


def keep_apart(headers: http.Headers, mine: str, asked: http.Headers, *, is_browser: bool) -> None:
    """Make an answer's headers say that it is this login's only, in place; 304 and 206 included.

    `asked` are the headers of its request, which comes from a browser or from no page at all.
    """
    silent = is_browser and "sec-fetch-site" not in asked
    told_by: tuple[str, ...] = (*_TOLD_BY, *_TOLD_OTHERWISE) if silent else _TOLD_BY
    if vary := headers.get("vary"):
        named = {name.strip().lower() for name in vary.split(",")}
        told_by = () if "*" in named else tuple(n for n in told_by if n.lower() not in named)
    if told_by:
        headers.add("Vary", ", ".join(told_by))
    if is_browser and asked.get("sec-fetch-dest") != "empty":
        # It goes before a max-age beside it.
        said = headers.get("cache-control")
        headers["Cache-Control"] = f"{said}, no-cache" if said else "no-cache"
    etag, date = headers.get("etag"), headers.get("last-modified")
    if date is not None and not _DATE.fullmatch(date):
        del headers["last-modified"]  # a cache would send it back whatever it is
        date = None
    if etag is not None and (match := _ETAG.fullmatch(etag)):
        start = match[1] or ("W/" if etag.startswith("W/") else "")
        headers["ETag"] = f"{start}~{mine}~{etag[len(start) :]}"
    elif date is not None:
        # Weak: a date says too little to join parts of a file by (RFC 9110, 8.8.2.2).
        headers["ETag"] = f'W/"~{mine}@{date.replace(" ", "_")}"'
    elif etag is not None:
        del headers["etag"]  # malformed, or several; it could not be told again


@dataclass
class _Tags:
    """What a list of entity tags says to the API."""

    own: list[str]
    """The API's own tags, those without a mark included."""
    date: str
    """The date in a tag that stands for one; empty for none."""
    has_foreign: bool
    """Whether a tag of another login was left out."""
    is_changed: bool

    @classmethod
    def read(cls, field: str, mine: str) -> "_Tags":
        tags = cls([], "", has_foreign=False, is_changed=False)
        for tag in _LISTED.findall(field):
            match = _OURS.fullmatch(tag)
            if not match:
                tags.own.append(tag)
                continue
            tags.is_changed = True
            start, whose, kind, rest = match.groups()
            date = rest.removesuffix('"').replace("_", " ")
            if whose == mine and kind == "~":
                tags.own.append(start + rest)
            elif whose == mine and _DATE.fullmatch(date):
                tags.date = date
            else:
                tags.has_foreign = True
        return tags

    def put(self, headers: http.Headers, name: str) -> None:
        """Let the field say this; one that had no mark in it keeps its bytes."""
        if self.own and self.is_changed:
            headers[name] = ", ".join(self.own)
        elif self.is_changed:
            del headers[name]
