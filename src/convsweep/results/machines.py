"""Machines that environment.json describes: one, or several in a merged run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from convsweep.formatting import size_in_bytes

if TYPE_CHECKING:
    from pandas import DataFrame, Series


def machines(environment: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Return the metadata of each machine by environment_id, which is empty if not recorded."""
    alone = {environment.get("environment_id", ""): environment}
    several: Mapping[str, Mapping[str, Any]] = environment.get("environments", alone)
    return several


def machine_of(environment: Mapping[str, Any], environment_id: str) -> Mapping[str, Any]:
    """Return the metadata of one machine; a plain run has one for all its rows."""
    several = "environments" in environment
    return machines(environment).get(environment_id, {}) if several else environment


def run_id_of(environment: Mapping[str, Any], measurements: DataFrame) -> str:
    """Return the id of the run; rows of a merged run have those of the runs they come from."""
    first = str(measurements["run_id"].iloc[0])
    return str(environment.get("run_id")) if "merged" in environment else first


def warnings(environment: Mapping[str, Any]) -> list[str]:
    """Return the warnings about the machine; of several machines each with its name."""
    lines = []
    for name, one in machines(environment).items():
        where = f"{_cpu(one)}, environment {name}: " if "environments" in environment else ""
        lines += [f"{where}{text}" for text in one.get("warnings", [])]
    return lines


def describe_machines(environment: Mapping[str, Any]) -> list[str]:
    """Return `AMD EPYC, AVX-512, 32.0 MiB L3` per machine, with what is recorded."""
    found = []
    for one in machines(environment).values():
        processor = one.get("processor", {})
        parts = [_cpu(one), processor.get("instruction_set")]
        if isinstance(size := processor.get("l3_bytes"), int):
            parts.append(f"{size_in_bytes(size)} L3")
        found.append(", ".join(str(part) for part in parts if part))
    return list(dict.fromkeys(found))


def lacks(environment: Mapping[str, Any]) -> list[str]:
    """Return a sentence per machine of a merged run on which shards were not measured."""
    sentences = []
    for name, shards in environment.get("missing_shards", {}).items():
        subject = f"Shard {shards[0]} is" if len(shards) == 1 else f"Shards {', '.join(shards)} are"
        cpu = _cpu(machine_of(environment, name))
        where = f" on {cpu}, environment {name}" if "environments" in environment else ""
        sentences.append(f"{subject} missing{where}.")
    return sentences


def _cpu(metadata: Mapping[str, Any]) -> str:
    name = metadata.get("machine", {}).get("cpu")
    return "a machine" if name is None else short_name(str(name))


def machine_names(rows: DataFrame, among: DataFrame) -> Series:
    """Return the device's name per row, with its environment if several `among` share the name."""
    import pandas as pd  # a third of a second that `convsweep --help` does not wait for

    columns = ["device", "device_name", "environment_id"]

    def texts(frame: DataFrame) -> DataFrame:
        found = frame.reindex(columns=columns).astype("string").fillna("")
        return found.assign(device_name=found["device_name"].map(short_name))

    counts = texts(among).drop_duplicates().groupby(columns[:2]).size()
    names = [
        (name if counts[device, name] == 1 else f"{name} (environment {where})")
        if name
        else f"environment {where}"
        for device, name, where in texts(rows).itertuples(index=False, name=None)
    ]
    return pd.Series(names, index=rows.index, dtype="str")


def short_name(product: str) -> str:
    """Return `Intel(R) Xeon(R) CPU @ 2.20GHz` as `Intel Xeon @ 2.20GHz`."""
    return " ".join(re.sub(r"\((R|TM)\)|\bCPU\b", " ", product).split())
