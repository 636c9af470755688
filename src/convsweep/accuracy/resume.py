"""Going on with a study: only as it was asked for; what differs is said as it is typed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convsweep.sweep import resume as resuming


def require_same(there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Raise `ValueError`, naming what differs, where a study can't be gone on with.

    Args:
        there: environment.json of the study.
        here: what it would say if the study were begun now.
    """
    before, now = _options(there), _options(here)
    for option, value in now.items():
        if option in before and before[option] != value:
            raise ValueError(f"can't resume: {option} was {before[option]}, and is {value} now")
    old, new = (_mapping(_request(told), "datasets") for told in (there, here))
    for name, data in new.items():
        if name in old and old[name] != data:
            raise ValueError(f"can't resume: the data of {name} are not those of the study's start")
    if there.get("environment_id", here["environment_id"]) != here["environment_id"]:
        raise ValueError("can't resume: the machine, or the version of a package, is another now")
    resuming.require_same(there, here)


def _options(told: Mapping[str, Any]) -> dict[str, str]:
    """The options that a study was asked by, as they are typed."""
    request = _request(told)
    epochs = _mapping(request, "epochs")
    return {
        **_listed("--dataset", _mapping(request, "datasets")),
        **{f"--{name}": str(request[name]) for name in ("seeds", "threads") if name in request},
        **{f"--epochs for {name}": str(number) for name, number in epochs.items()},
    }


def _listed(option: str, names: Mapping[str, Any]) -> dict[str, str]:
    return {option: ", ".join(names)} if names else {}


def _request(told: Mapping[str, Any]) -> Mapping[str, Any]:
    return _mapping(told, "request")


def _mapping(told: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part that is a mapping; empty where a damaged file has something else."""
    found = told.get(name)
    return found if isinstance(found, Mapping) else {}
