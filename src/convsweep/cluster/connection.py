"""Joining a running cluster, or starting one on this machine and ending it without a trace."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from convsweep.cluster.address import Address
from convsweep.cluster.cores import staying_on
from convsweep.cluster.pool import SLOT, Pool, RayPool
from convsweep.cluster.probe import refuse_unless_joinable

_QUIET = {
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
_LOCAL = {
    "RAY_worker_niceness": "0",  # 15 by default: measuring processes would give way to all else
    "RAY_enable_metrics_collection": "0",
    "RAY_memory_monitor_refresh_ms": "0",  # measuring processes have limits of their own
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
_OBJECT_STORE_BYTES = 80 * 2**20  # the least that Ray takes: answers are small
_LOOPBACK = "127.0.0.1"


@contextmanager
def connected(address: Address, threads: int) -> Iterator[Pool]:
    """The slots of a cluster; one that is started here stays off the last `threads` cores.

    Raises:
        ValueError: in one line, where there is no such cluster or it can't be joined.
    """
    own = {**_QUIET, "RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "token")}
    if not address.local_nodes:
        with _variables(own), _joined(address) as pool:
            yield pool
        return
    # A token of its own, so that nobody else's process joins this one.
    own |= _LOCAL | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with _variables(own), _sparing(threads), _started(address.local_nodes) as pool:
        yield pool


@contextmanager
def _joined(address: Address) -> Iterator[Pool]:
    refuse_unless_joinable(address)
    import ray

    try:
        with _unheard():
            ray.init(address.text, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, SystemExit) as error:
        raise ValueError(f"--ray {address.text!r}: {' '.join(str(error).split())}") from None
    try:
        yield RayPool()
    finally:
        ray.shutdown()


@contextmanager
def _started(nodes: int) -> Iterator[Pool]:
    """Nodes on this machine, each with a slot; they die with this process, however it ends."""
    import ray
    from ray.cluster_utils import Cluster

    short = "/tmp" if Path("/tmp").is_dir() else None  # names of sockets are 107 bytes at most
    folder = Path(tempfile.mkdtemp(prefix="convsweep-ray-", dir=short))
    with ExitStack() as ending:
        ending.callback(shutil.rmtree, folder, ignore_errors=True)
        cluster = Cluster()
        ending.callback(cluster.shutdown)
        ending.callback(ray.shutdown)
        with _unheard():
            for number in range(1, nodes + 1):
                head = {"temp_dir": str(folder)} if number == 1 else {}
                cluster.add_node(**_node(f"local-{number}"), **head)
            ray.init(cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        yield RayPool()


def _node(name: str) -> dict[str, Any]:
    return {
        "num_cpus": 1,
        "resources": {SLOT: 1},
        "node_name": name,
        "node_ip_address": _LOOPBACK,
        "object_store_memory": _OBJECT_STORE_BYTES,
        "include_dashboard": False,
    }


@contextmanager
def _sparing(threads: int) -> Iterator[None]:
    """Within, what is started stays off the last cores, which the slots then take."""
    if hasattr(os, "sched_getaffinity"):
        rest = sorted(os.sched_getaffinity(0))[:-threads]
        if rest:
            with staying_on(rest):
                yield
            return
    yield


@contextmanager
def _unheard() -> Iterator[None]:
    """Within, nothing comes out at standard error: what Ray's own code logs there says nothing."""
    before = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


@contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
