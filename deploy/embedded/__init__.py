"""The real nats-server and PostgreSQL as children of this process, for development, demos and tests.

Everything lives in one data folder: data, passwords, ports, process records and server logs. A folder
belongs to one supervisor at a time, and a server never outlives its supervisor for long:

- `datafolder` holds the folder's lock, passwords and ports;
- `account` finds whom the servers run as when we are root;
- `launch` is the small script that turns into a server, holding the server's own lock;
- `process` starts, signals and awaits one server, and ends what an earlier supervisor left;
- `postgres` and `nats` know their servers' settings and when they are ready;
- `supervisor` brings both up, keeps them up and takes them down.

POSIX systems only. On Linux the kernel ends the servers when the supervisor dies; elsewhere the next
start on the folder does.
"""

from deploy.embedded.errors import EmbeddedError
from deploy.embedded.supervisor import EmbeddedStack, Endpoints

__all__ = ["EmbeddedError", "EmbeddedStack", "Endpoints"]
