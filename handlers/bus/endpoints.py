"""What a door offers on the bus, and counts of what came through it: the matter of NATS service discovery."""

from __future__ import annotations

from time import perf_counter_ns
from typing import Any

import msgspec


class Endpoint:
    """One query or command behind a door. `name` may have letters, digits, `-` and `_` (NATS micro protocol).

    `request` and `response` are JSON Schemas; clients of the discovery find them in its metadata.
    """

    def __init__(
        self,
        name: str,
        subject: str,
        queue_group: str,
        description: str,
        request: dict[str, Any],
        response: dict[str, Any],
    ) -> None:
        self.name = name
        self.subject = subject
        self.queue_group = queue_group
        self.description = description
        self.request = request
        self.response = response
        self._requests = 0
        self._errors = 0
        self._nanoseconds = 0
        self._last_error = ""

    def count(self, began: int, error: str = "") -> None:
        """Count a request that came at `began` (perf_counter_ns), and how it failed where it did."""
        self._requests += 1
        self._nanoseconds += perf_counter_ns() - began
        if error:
            self._errors += 1
            self._last_error = error

    def info(self) -> dict[str, Any]:
        """Return what `$SRV.INFO` says about it; metadata are texts."""
        metadata = {
            "description": self.description,
            "format": "application/json",
            "request_schema": msgspec.json.encode(self.request).decode(),
            "response_schema": msgspec.json.encode(self.response).decode(),
        }
        return {
            "name": self.name,
            "subject": self.subject,
            "queue_group": self.queue_group,
            "metadata": metadata,
        }

    def stats(self) -> dict[str, Any]:
        """Return what `$SRV.STATS` says about it; times are in nanoseconds."""
        return {
            "name": self.name,
            "subject": self.subject,
            "queue_group": self.queue_group,
            "num_requests": self._requests,
            "num_errors": self._errors,
            "last_error": self._last_error,
            "processing_time": self._nanoseconds,
            "average_processing_time": self._nanoseconds // max(self._requests, 1),
            "data": None,
        }
