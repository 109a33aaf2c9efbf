"""The table of sagas, by the kind of their operations."""

from __future__ import annotations

from collections.abc import Mapping

from sagas.definition import Saga
from sagas.provisioning import PROVISIONING
from sagas.resumption import RESUMPTION
from sagas.suspension import SUSPENSION
from sagas.termination import TERMINATION
from sagas.upgrade import UPGRADE

SAGAS: Mapping[str, Saga] = {
    saga.kind: saga for saga in (PROVISIONING, SUSPENSION, RESUMPTION, UPGRADE, TERMINATION)
}
