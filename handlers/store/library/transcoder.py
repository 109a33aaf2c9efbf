"""JSON that gives back the types it was given; the library's makes plain ones of tuples and subclasses."""

from __future__ import annotations

from types import NoneType
from typing import Any, cast

from eventsourcing.persistence import JSONTranscoder, Transcoding

_PLAIN = (str, int, float, bool, NoneType)


class TupleAsList(Transcoding):
    """A tuple, as a list that says so."""

    type = tuple
    name = "tuple_as_list"

    def encode(self, obj: tuple[Any, ...]) -> list[Any]:
        """Return the items."""
        return list(obj)

    def decode(self, data: list[Any]) -> tuple[Any, ...]:
        """Return the tuple."""
        return tuple(data)


class ExactTranscoder(JSONTranscoder):
    """Encodes by exact type: whatever JSON has no type for needs a transcoding, or is refused."""

    def __init__(self) -> None:
        super().__init__()
        self.register(TupleAsList())

    def encode(self, obj: Any) -> bytes:
        """Return `obj` as JSON. Raises TranscodingNotRegisteredError."""
        return super().encode(self._marked(obj))

    def _marked(self, obj: Any) -> Any:
        if type(obj) in _PLAIN:
            return obj
        if type(obj) is list:
            return list(map(self._marked, cast("list[Any]", obj)))
        found = cast("dict[str, Any]", obj) if type(obj) is dict else self._encode_obj(obj)
        return {key: self._marked(value) for key, value in found.items()}
