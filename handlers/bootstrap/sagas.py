"""The role of the sagas, and the watch over the roles that they make."""

from contextlib import AsyncExitStack

from prometheus_client import REGISTRY

from handlers.adapters.tenant_watch import TenantWatch, WatchLimits
from handlers.bootstrap.adapters import connecting, effects_of
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


def tenant_watch(process: Process) -> TenantWatch:
    """Return what ends tenants' sessions that hold on for too long, and puts their roles back."""
    settings = process.settings
    limits = WatchLimits(
        transaction=settings.tenant_transaction_limit,
        idle=settings.tenant_idle_limit,
        interval=settings.tenant_watch_interval,
        connections=settings.tenant_connections,
    )
    return TenantWatch(connecting(process), process.master_key, REGISTRY, limits)
