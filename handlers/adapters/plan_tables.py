"""The tables that a plan brings into its tenants' schemas: one template to make each version, one to drop it.

They refer to no other table of a tenant, so that making or dropping one locks nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from handlers.adapters.statements import template


def making(tables: Mapping[str, int], schema: str, role: str) -> str:
    """Return the statements that make tables of these versions in `schema`, for `role` to use."""
    return _filled("up", tables, schema, role)


def dropping(tables: Mapping[str, int], schema: str) -> str:
    """Return the statements that drop tables of these versions, with their rows."""
    return _filled("down", tables, schema, "")


def _filled(way: str, tables: Mapping[str, int], schema: str, role: str) -> str:
    return (
        "".join(_templates(way, sorted(tables.items()))).replace("{schema}", schema).replace("{role}", role)
    )


def _templates(way: str, tables: Iterable[tuple[str, int]]) -> list[str]:
    return [_template(f"plans/{table}_{version}_{way}") for table, version in tables]


_template = cache(template)
