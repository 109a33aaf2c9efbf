"""What can go wrong with the embedded stack, said so that the reader knows what to do."""


class EmbeddedError(Exception):
    """The embedded stack cannot start or go on; the message says what to do about it."""


class PortTakenError(EmbeddedError):
    """Another process listens on the port that a server should have."""

    def __init__(self, name: str, port: int) -> None:
        super().__init__(
            f"port {port} on 127.0.0.1, wanted for {name}, is taken by another process: "
            f"stop that process, or choose another port (0 picks a free one on a new data folder)"
        )
        self.port = port
