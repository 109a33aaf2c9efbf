"""The role of the sagas."""

from contextlib import AsyncExitStack

from prometheus_client import REGISTRY

from handlers.bootstrap.adapters import effects_of
from handlers.bootstrap.process import Process
from handlers.saga_runner.role import SagasRole
from handlers.saga_runner.worker import Limits


def sagas_role(process: Process, started: AsyncExitStack) -> SagasRole:
    """Return the runner of the sagas; the connections that its effects keep end with `started`."""
    settings = process.settings
    return SagasRole(
        postgres_url=process.postgres_url,
        store=process.store,
        nats=process.nc,
        subjects=process.subjects,
        effects=effects_of(process, started),
        policy=settings.policy(),
        registry=REGISTRY,
        commits=process.commits,
        beats=process.beats,
        limits=Limits(
            concurrency=settings.saga_concurrency,
            lease=settings.saga_lease,
            per_tenant=settings.saga_runs_per_tenant,
            steps=settings.saga_step_limits,
        ),
    )
