"""Settings that fit each by itself, and not together: each contradiction is a sentence that names both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from sagas.registry import SAGAS

PREFIX = "TENANTS_"
_KEY_FILES = ("master_key_file", "signing_key_file", "certificate_key_file")


def contradictions(given: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with these settings, by their names; nothing when they fit together."""
    return [*_policy(given), *_sagas(given), *_limits(given), *_files(given)]


def _policy(given: Mapping[str, Any]) -> Iterator[str]:
    region, regions = given["default_region"], given["regions"]
    if region not in regions:
        served = ", ".join(regions) or "none"
        yield f"{_n('default_region')} is {region}, which {_n('regions')} does not name ({served})"


def _sagas(given: Mapping[str, Any]) -> Iterator[str]:
    known = {step.name for saga in SAGAS.values() for step in saga.steps}
    for name in sorted(given["saga_step_limits"].keys() - known):
        yield f"{_n('saga_step_limits')} names {name}, and no saga has such a step"


def _limits(given: Mapping[str, Any]) -> Iterator[str]:
    if given["batch_size"] > given["waiting_commands"]:
        yield (
            f"{_n('batch_size')} is {given['batch_size']}, and {_n('waiting_commands')} lets no more than"
            f" {given['waiting_commands']} wait for a batch"
        )
    tried = given["command_tries"] * given["unavailable_after"]
    if given["command_retention"] <= tried:
        yield (
            f"{_n('command_retention')} is {given['command_retention']:g} s, and a command may be tried for"
            f" {tried:g} s ({_n('command_tries')} times {_n('unavailable_after')}): its outcome would be"
            " forgotten before it comes again"
        )
    if given["metrics_port"] is not None and given["metrics_port"] == given["http_port"]:
        yield f"{_n('metrics_port')} and {_n('http_port')} are the same port, {given['http_port']}"
    if (given["objects_access_key"] is None) != (given["objects_secret_key"] is None):
        yield f"{_n('objects_access_key')} and {_n('objects_secret_key')} go together: set both or neither"


def _files(given: Mapping[str, Any]) -> Iterator[str]:
    files = {name: given[name] for name in _KEY_FILES if given[name] is not None}
    for path, count in Counter(files.values()).items():
        if count > 1:
            names = " and ".join(_n(name) for name, each in files.items() if each == path)
            yield f"{names} name the same file, {path}: each key has a file of its own"


def _n(name: str) -> str:
    return PREFIX + name.upper()
