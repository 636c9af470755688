"""What environment.json tells of the machines that a run's rows come from: one, or several."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from pandas import DataFrame, Series

OF_A_MACHINE = ("machine", "versions", "devices", "commit", "warnings")
"""What is told of each environment apart, where rows of several were merged."""


def machines(environment: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The parts `OF_A_MACHINE` by environment_id; the id of a run that tells none is empty."""
    several = environment.get("environments")
    if not isinstance(several, Mapping):
        return {str(environment.get("environment_id") or ""): environment}
    return {str(name): told for name, told in several.items() if isinstance(told, Mapping)}


def machine_of(environment: Mapping[str, Any], environment_id: str) -> Mapping[str, Any]:
    """What is told of one environment; a plain run's file tells of all the rows beside it."""
    found = machines(environment)
    return found.get(environment_id, {}) if "environments" in environment else environment


def run_id_of(environment: Mapping[str, Any], measurements: DataFrame) -> str:
    """The run's; rows of a merged one tell the run that they come from."""
    first = str(measurements["run_id"].iloc[0])
    return str(environment.get("run_id")) if "merged" in environment else first


def warnings(environment: Mapping[str, Any]) -> list[str]:
    """What makes the timings shaky, and of several machines on which: the file may be edited."""
    said = []
    for name, told in machines(environment).items():
        found = told.get("warnings")
        where = f"{_cpu(told)}, environment {name}: " if "environments" in environment else ""
        said += [f"{where}{text}" for text in found] if isinstance(found, list) else []
    return said


def lacks(environment: Mapping[str, Any]) -> list[str]:
    """A sentence for each machine that some shards of a merged run were not measured on."""
    missing = environment.get("missing_shards")
    if not isinstance(missing, Mapping):
        return []
    several = "environments" in environment
    said = []
    for name, shards in missing.items():
        shards = list(map(str, shards)) if isinstance(shards, list) else []
        what = f"Shard {shards[0]} is" if len(shards) == 1 else f"Shards {', '.join(shards)} are"
        where = f" on {_cpu(machine_of(environment, name))}, environment {name}" if several else ""
        said.append(f"{what} missing{where}.")
    return said


def _cpu(told: Mapping[str, Any]) -> str:
    machine = told.get("machine")
    return (
        in_short(str(machine.get("cpu", "a machine")))
        if isinstance(machine, Mapping)
        else "a machine"
    )


def machine_names(rows: DataFrame, among: DataFrame) -> Series:
    """The device's name for each row; its environment too where several `among` all have that."""
    columns = ["device", "device_name", "environment_id"]
    own, every = (part.reindex(columns=columns).astype("string") for part in (rows, among))
    own, every = (
        part.fillna("").assign(device_name=part["device_name"].fillna("").map(in_short))
        for part in (own, every)
    )
    counts = every.drop_duplicates().groupby(columns[:2]).size()
    words = [
        (name if counts[device, name] == 1 else f"{name} (environment {where})")
        if name
        else f"environment {where}"
        for device, name, where in own.itertuples(index=False, name=None)
    ]
    return pd.Series(words, index=rows.index, dtype="str")


def in_short(product: str) -> str:
    """`Intel(R) Xeon(R) CPU @ 2.20GHz` as `Intel Xeon @ 2.20GHz`."""
    return " ".join(re.sub(r"\((R|TM)\)|\bCPU\b", " ", product).split())
