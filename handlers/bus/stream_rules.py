"""How a stream that is there is compared with the one that is wanted, field by field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from handlers.adapters.jetstream import Json


class StreamWeakened(Exception):
    """A stream stands there with a stronger or other setting than the one asked for."""

    def __init__(self, stream: str, field: str, present: object, wanted: object) -> None:
        super().__init__(
            f"stream {stream}: {field} is {present!r}, and would become {wanted!r}; "
            f"this service does not weaken or convert a stream: change the setting, or the stream, by hand"
        )
        self.stream, self.field = stream, field


def compared(info: Mapping[str, Any], wanted: Json) -> Json:
    """Return the fields of `wanted` that the stream lacks, all of which make it stronger.

    Raises StreamWeakened for a field that would make it weaker, or another stream.
    """
    present = info["config"]
    empty = not info.get("state", {}).get("messages")
    growth: Json = {}
    for field, value in wanted.items():
        rule = RULES[field]
        former = present.get(field, rule.absent)
        if not rule.fits(former, value):
            if not (rule.grows(former, value) or (rule.shrinks_empty and empty)):
                raise StreamWeakened(wanted["name"], field, former, value)
            growth[field] = value
    return growth


def departures(info: Mapping[str, Any], wanted: Json) -> dict[str, str]:
    """Return in which fields a stream is not as it was declared, and what they are."""
    present = info["config"]
    found = {field: present.get(field, RULES[field].absent) for field in wanted}
    return {
        field: f"{field} is {found[field]!r}, not {value!r}"
        for field, value in wanted.items()
        if not RULES[field].fits(found[field], value)
    }


class Rule(NamedTuple):
    """How a field is compared: what it is when absent, when it is right, when a change is growth."""

    absent: Any
    fits: Callable[[Any, Any], bool]
    grows: Callable[[Any, Any], bool]
    shrinks_empty: bool = False


def _equal(present: Any, wanted: Any) -> bool:
    return present == wanted


def _never(_present: Any, _wanted: Any) -> bool:
    return False


def _most(present: int, wanted: int) -> bool:
    return wanted <= 0 or wanted > present > 0


def _equal_limit(present: int, wanted: int) -> bool:
    return present == wanted or (present <= 0 and wanted <= 0)


def _more(present: int, wanted: int) -> bool:
    return wanted > present


def _turned_off(present: bool, wanted: bool) -> bool:
    return present and not wanted


def _turned_on(present: bool, wanted: bool) -> bool:
    return wanted and not present


def _other_subjects(present: list[str], wanted: list[str]) -> bool:
    return set(present) < set(wanted)


def _same_subjects(present: list[str], wanted: list[str]) -> bool:
    return set(present) == set(wanted)


def _keeps_more(present: str, wanted: str) -> bool:
    return (present, wanted) == ("old", "new")


_SAME = (_equal, _never)
_LIMIT = (_equal_limit, _most, True)

RULES: Mapping[str, Rule] = {
    "name": Rule("", *_SAME),
    "subjects": Rule([], _same_subjects, _other_subjects),
    "retention": Rule("limits", *_SAME),
    "storage": Rule("file", *_SAME),
    "discard": Rule("old", _equal, _keeps_more),
    "num_replicas": Rule(1, _equal, _more),
    "allow_direct": Rule(False, _equal, _turned_on),
    "allow_atomic": Rule(False, _equal, _turned_on),
    "allow_rollup_hdrs": Rule(False, _equal, _turned_on),
    "max_msgs_per_subject": Rule(-1, *_LIMIT),
    "deny_delete": Rule(False, _equal, _turned_on),
    "sealed": Rule(False, *_SAME),
    "no_ack": Rule(False, _equal, _turned_off),
    "max_msgs": Rule(-1, *_LIMIT),
    "max_bytes": Rule(-1, *_LIMIT),
    "max_age": Rule(0, *_LIMIT),
    "max_msg_size": Rule(-1, *_LIMIT),
    "duplicate_window": Rule(0, _equal, _more, True),
    "persist_mode": Rule("default", *_SAME),
    "subject_transform": Rule(None, *_SAME),
}
