"""Pages of a read model's rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from uuid import UUID

from handlers.queries.generations import Generations
from handlers.queries.reading import Item, Read, page
from projections.forms import Page, after
from projections.questions import Listing, full_name
from tenant_domain.refusals import InvalidQuery

Known = Mapping[str, Collection[str]]
"""What there is to choose from, by the name of the field: plans that are sold, kinds of operations."""


async def listed(
    generations: Generations, question: Listing, tenant_id: UUID | None, form: Page, known: Known
) -> Read:
    """Read a page: by key, so that rows that are born meanwhile move nothing.

    Its answer is InvalidQuery where it is empty for a choice that neither `known` nor any row has. Raises
    InvalidQuery for a cursor that is not this question's, and what Generations.read raises.
    """
    model = question.model
    conditions = question.conditions(tenant_id, form)
    where = " AND ".join(["born > %s", *(condition.sql for condition in conditions)])

    def statement(generation: int) -> str:
        rows = (
            f"SELECT born, body FROM service.{model.table(generation)} WHERE {where} ORDER BY born LIMIT %s"  # noqa: S608
        )
        return (
            f"SELECT p.position, r.born, r.body FROM service.projections p LEFT JOIN ({rows}) r ON true "  # noqa: S608
            f"WHERE p.name = '{model.name}' AND p.generation = {generation} AND p.live ORDER BY r.born"
        )

    name = full_name(question)
    start = after(name, form.cursor)
    values = (start, *(condition.value for condition in conditions), form.limit + 1)
    rows = await generations.read(model, statement, values, prepare=False)
    items = [Item(born, body) for _, born, body in rows if born is not None]
    position = rows[0][0]
    unknown = [] if items or start else await _unknown(generations, question, form, known)

    def answer() -> bytes:
        if unknown:
            raise InvalidQuery("; ".join(f"{e['field']}: {e['detail']}" for e in unknown), errors=unknown)
        return page(name, form, items, position)

    return Read(position, answer, nothing=not items)


async def _unknown(
    generations: Generations, question: Listing, form: Page, known: Known
) -> list[dict[str, str]]:
    """Return what of an empty page's choices is no choice: a former plan is one while a tenant has it."""
    model, errors = question.model, list[dict[str, str]]()
    for field in question.chosen:
        value: str | None = getattr(form, field)
        if value is None or value in known[field]:
            continue

        def statement(generation: int, field: str = field) -> str:
            rows = f"SELECT FROM service.{model.table(generation)} WHERE {field} = %s"
            return (
                f"SELECT EXISTS ({rows}) FROM service.projections WHERE name = '{model.name}' "  # noqa: S608
                f"AND generation = {generation} AND live"
            )

        ((stored,),) = await generations.read(model, statement, (value,), prepare=False)
        if not stored:
            errors.append({"field": field, "detail": _choices(value, known[field])})
    return errors


def _choices(value: str, known: Collection[str]) -> str:
    return f"{value!r} is not known, and nothing has it: there are {', '.join(sorted(known))}"
