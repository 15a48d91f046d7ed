"""Header fields that are found by name without a walk over all of them."""

from collections.abc import Iterable

from mitmproxy import http


class IndexedHeaders(http.Headers):
    """mitmproxy's headers, with an index by name.

    `http.Headers` walks all fields at each look-up (mitmproxy `coretypes/multidict.py`). The addon
    does some thirty for a request, most of them in vain: that was half of its work.
    """

    _indexed: tuple[tuple[bytes, bytes], ...] | None = None
    """The fields that the index is of; mitmproxy replaces the tuple when something changes."""
    _values: dict[str, list[bytes]]
    """The values of the fields, by name in lower case."""

    @classmethod
    def of(cls, headers: http.Headers) -> "IndexedHeaders":
        """The same fields, as they are now."""
        if isinstance(headers, cls):
            return headers
        indexed = cls.__new__(cls)
        indexed.fields = headers.fields
        return indexed

    def raw(self, name: str | bytes) -> list[bytes]:
        """The values of all fields of this name."""
        if self._indexed is not self.fields:
            self._values = {}
            for field, value in self.fields:
                self._values.setdefault(
                    field.decode("utf-8", "surrogateescape").lower(), []
                ).append(value)
            self._indexed = self.fields
        key = name if isinstance(name, str) else name.decode("utf-8", "surrogateescape")
        return self._values.get(key.lower(), [])

    def get_all(self, name: str | bytes) -> list[str]:
        return [value.decode("utf-8", "surrogateescape") for value in self.raw(name)]

    def get(self, name: str | bytes, default: str | None = None) -> str | None:  # type: ignore[override]
        values = self.raw(name)
        return b", ".join(values).decode("utf-8", "surrogateescape") if values else default

    def __getitem__(self, name: str | bytes) -> str:
        values = self.raw(name)
        if not values:
            raise KeyError(name)
        return b", ".join(values).decode("utf-8", "surrogateescape")

    def __contains__(self, name: object) -> bool:
        return isinstance(name, (str, bytes)) and self.raw(name) != []

    def set_all(self, name: str | bytes, values: Iterable[str | bytes]) -> None:
        old, field_name = self.raw(name), _bytes(name)
        new = [_bytes(value) for value in values]
        fields = self.fields
        if old:
            left = new.copy()
            kept, key = [], field_name.lower()
            for field in fields:
                if field[0].lower() != key:
                    kept.append(field)
                elif left:
                    kept.append((field[0], left.pop(0)))
            fields = (*kept, *((field_name, value) for value in left))
        else:
            fields += tuple((field_name, value) for value in new)
        self._put(field_name, new, fields)

    def __delitem__(self, name: str | bytes) -> None:
        if not self.raw(name):
            raise KeyError(name)
        key = _bytes(name).lower()
        self._put(key, [], tuple([field for field in self.fields if field[0].lower() != key]))

    def _put(
        self, name: bytes, values: list[bytes], fields: tuple[tuple[bytes, bytes], ...]
    ) -> None:
        """Change the fields, and the index with them."""
        key = name.decode("utf-8", "surrogateescape").lower()
        if values:
            self._values[key] = values
        else:
            self._values.pop(key, None)
        self.fields = self._indexed = fields


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
