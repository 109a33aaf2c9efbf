"""Queries: one dispatcher for the bus and the HTTP edge, that answers from read models and from the log."""

from handlers.queries.answering import Queries
from handlers.queries.hearing import Hearing
from handlers.queries.positions import Positions

__all__ = ["Hearing", "Positions", "Queries"]
