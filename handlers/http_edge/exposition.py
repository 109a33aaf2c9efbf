"""The metrics of this process, and of others that it is told of: each sample says whose it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

import httpx
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

OWN = "service"
"""What this process is called beside others."""

PATIENCE = 5.0
"""Seconds that another process has to answer: less than a scrape has."""


class _Families(Collector):
    """Families of metrics that are there already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        """Return them."""
        return self._families


async def exposition(registry: CollectorRegistry, others: Mapping[str, str]) -> bytes:
    """Return the metrics of this process in Prometheus' text form; with `others` (URLs by name) theirs too.

    Then each sample has the label `process`, and `tenants_process_up` says who answered.
    """
    own = generate_latest(registry)
    if not others:
        return own
    async with httpx.AsyncClient(timeout=PATIENCE, trust_env=False) as client:
        texts = await asyncio.gather(*(_fetched(client, url) for url in others.values()))
    answered = {OWN: own.decode(), **dict(zip(others, texts, strict=True))}
    up = Metric("tenants_process_up", "Whether a process tells its metrics", "gauge")
    families = {up.name: up}
    for process, text in answered.items():
        up.add_sample(up.name, {"process": process}, float(text is not None))
        for family in text_string_to_metric_families(text or ""):
            known = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                known.samples.append(sample._replace(labels={**sample.labels, "process": process}))
    merged = CollectorRegistry(auto_describe=False)
    merged.register(_Families(families.values()))
    return generate_latest(merged)


async def _fetched(client: httpx.AsyncClient, url: str) -> str | None:
    try:
        return (await client.get(url)).text
    except httpx.HTTPError:
        return None
