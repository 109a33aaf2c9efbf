"""The composition root: the parts of a process, made from settings, started and stopped in order.

`process` connects to the servers, one module a role makes its parts, `composing` puts the roles together,
`serving` runs them until it is told to stop.
"""

from handlers.bootstrap.composing import ROLES
from handlers.bootstrap.serving import EngineFailed, run

__all__ = ["ROLES", "EngineFailed", "run"]
