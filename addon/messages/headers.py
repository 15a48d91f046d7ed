"""Header fields that are found by name without a walk over all of them."""

import re
from collections.abc import KeysView, Mapping
from functools import lru_cache
from typing import Any

from mitmproxy import http

_BREAKS = re.compile(rb"[\r\n\0]")


class IndexedHeaders(http.Headers):
    """mitmproxy's headers, with an index by name.

    `http.Headers` walks all fields at each look-up (mitmproxy `coretypes/multidict.py`), and there
    are some forty of them for a request, mitmproxy's own included, most of them in vain.
    """

    _indexed: tuple[tuple[bytes, bytes], ...] | None = None
    """The fields that the index is of; mitmproxy replaces the tuple when something changes."""
    _index: dict[str, list[bytes]]
    """The values of the fields, by name in lower case."""

    @classmethod
    def of(cls, headers: http.Headers) -> "IndexedHeaders":
        """The same fields, as they are now."""
        return headers if isinstance(headers, cls) else cls.with_fields(headers.fields)

    @classmethod
    def with_fields(cls, fields: tuple[tuple[bytes, bytes], ...]) -> "IndexedHeaders":
        """`http.Headers(fields)`, but for the check of each field's type."""
        headers = cls.__new__(cls)
        headers.fields = fields
        return headers

    @property
    def names(self) -> KeysView[str]:
        """The names of all fields, in lower case."""
        return self._up_to_date().keys()

    def raw(self, name: str | bytes) -> list[bytes]:
        """The values of all fields of this name."""
        index = self._index if self._indexed is self.fields else self._up_to_date()
        key = name if isinstance(name, str) else _native(name)
        return index.get(key) or index.get(key.lower(), [])

    def change(self, values: Mapping[bytes, bytes | None]) -> None:
        """Put one field with this value in the place of all those of a name, none where it is None.

        As setting or deleting one after the other, in one walk.
        """
        index = self._up_to_date()
        changed = {_key(name): (name, value) for name, value in values.items()}
        fields, left = [], changed.copy()
        for field in self.fields:
            key = _key(field[0])
            if key not in changed:
                fields.append(field)
            elif (put := left.pop(key, None)) and put[1] is not None:
                fields.append((field[0], put[1]))
        fields += [(name, value) for name, value in left.values() if value is not None]
        for key, (_, value) in changed.items():
            if value is None:
                index.pop(key, None)
            else:
                index[key] = [value]
        self.fields = self._indexed = tuple(fields)

    def add(self, key: str | bytes, value: str | bytes) -> None:
        name, content = _bytes(key), _bytes(value)
        self._up_to_date().setdefault(_key(name), []).append(content)
        self.fields = self._indexed = (*self.fields, (name, content))

    def _up_to_date(self) -> dict[str, list[bytes]]:
        fields = self.fields
        if self._indexed is not fields:
            self._index = {}
            for name, value in fields:
                self._index.setdefault(_key(name), []).append(value)
            self._indexed = fields
        return self._index

    # As in `http.Headers`, by way of the index and of `change`

    def get_all(self, name: str | bytes) -> list[str]:
        return [_native(value) for value in self.raw(name)]

    def get(self, name: str | bytes, default: Any = None) -> Any:
        values = self.raw(name)
        return _native(b", ".join(values)) if values else default

    def __getitem__(self, name: str | bytes) -> str:
        values = self.raw(name)
        if not values:
            raise KeyError(name)
        return _native(b", ".join(values))

    def __setitem__(self, name: str | bytes, value: str | bytes) -> None:
        self.change({_bytes(name): _bytes(value)})

    def __delitem__(self, name: str | bytes) -> None:
        if name not in self:
            raise KeyError(name)
        self.change({_bytes(name): None})

    def __contains__(self, name: object) -> bool:
        return isinstance(name, (str, bytes)) and bool(self.raw(name))


def _native(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def _key(name: bytes) -> str:
    # Long names are not remembered: a foreign page could fill the memory with them.
    return _remembered_key(name) if len(name) <= 64 else _native(name).lower()


@lru_cache(maxsize=1024)
def _remembered_key(name: bytes) -> str:
    return _native(name).lower()


def lower_names(headers: http.Headers) -> None:
    """Names in lower case, as HTTP/2 and HTTP/3 demand them (RFC 9113, 8.2), in place.

    mitmproxy would do it, with a line in its log for each.
    """
    if not all(name.islower() for name, _ in headers.fields):
        headers.fields = tuple((name.lower(), value) for name, value in headers.fields)


def is_broken(value: bytes) -> bool:
    """Whether a field's value has a line break or NUL in it.

    A server must refuse a request with one, or put blanks there (RFC 9110, 5.5; RFC 9112, 5.2);
    mitmproxy does neither, and who reads it next may take what follows for a field of its own.
    """
    return _BREAKS.search(value) is not None


def without_broken(headers: http.Headers) -> str | None:
    """Leave out the fields that are broken, in place; the name of the first, if there is one."""
    if not is_broken(b"".join([value for _, value in headers.fields])):
        return None
    broken = [name for name, value in headers.fields if is_broken(value)]
    headers.fields = tuple(field for field in headers.fields if not is_broken(field[1]))
    return _native(broken[0])


def spelling(name: str) -> str:
    """The same for all names that a server may take for one: CGI and WSGI know no `-`."""
    return name.lower().replace("_", "-")


_DIGESTS = (
    *("etag", "content-md5", "digest", "content-digest", "repr-digest", "signature"),
    *("signature-input", "accept-ranges"),
)


def without_digests(headers: http.Headers) -> None:
    """Drop what speaks of a body that was changed (RFC 9110, 8.8.3; RFC 9530; RFC 9421)."""
    for name in _DIGESTS:
        headers.pop(name, None)
