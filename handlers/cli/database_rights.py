"""`tenantctl database-rights`: what a superuser has to run in the service's database."""

from __future__ import annotations


def database_rights(service: str, database: str) -> None:
    """Print what a superuser runs once in the database, to close it to tenants' roles and for erasures.

    `tenantctl doctor` says whether it was run. On embedded servers it was.

    Example: tenantctl database-rights tenants_service tenants | psql tenants

    Parameters
    ----------
    service
        The role of TENANTS_POSTGRES_URL.
    database
        Its database.
    """
    from handlers.adapters.walls import for_superuser
    from handlers.cli.output import text

    text(for_superuser(service, database))
