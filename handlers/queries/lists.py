"""Pages of a read model's rows."""

from __future__ import annotations

from uuid import UUID

from handlers.queries.generations import Generations
from handlers.queries.reading import Item, Read, page
from projections.forms import Page, after
from projections.questions import Listing, full_name


async def listed(generations: Generations, question: Listing, tenant_id: UUID | None, form: Page) -> Read:
    """Read a page: by key, so that rows that are born meanwhile move nothing.

    Raises InvalidQuery for a cursor that is not this question's, and what Generations.read raises.
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
    return Read(position, lambda: page(name, form, items, position), nothing=not items)
