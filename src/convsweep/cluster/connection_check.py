"""Tries to join a cluster, in a process of its own: Ray takes minutes to give up, and may hang.

As a program: `python -m convsweep.cluster.connection_check ADDRESS`; exits with 0 once it has
joined, else writes the error to standard error.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import subprocess
import sys

from convsweep.cluster.address import AUTO, Address
from convsweep.formatting import one_line

_CONNECT_S, _JOIN_S = 2.0, 8.0
"""Both together are within the 15 seconds that a wrong address may take."""

_REASONS = {
    "InvalidAuthToken": "the cluster refuses this token; its own belongs in RAY_AUTH_TOKEN, or in "
    "the file ~/.ray/auth_token",
    "no authentication token was found": "there is no token here; the cluster's belongs in "
    "RAY_AUTH_TOKEN, or in the file ~/.ray/auth_token",
    "Could not find any running Ray instance": "no cluster runs on this machine; ray start makes "
    "or joins one",
}


def require_joinable(address: Address) -> None:
    """Raise `ValueError`, in one line, where this process could not join the running cluster."""
    if address.endpoint is not None:
        _require_answered(address.text, address.endpoint)
    command = [sys.executable, "-m", "convsweep.cluster.connection_check", address.text]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_JOIN_S, check=False)
        said = done.stderr if done.returncode else None
    except subprocess.TimeoutExpired as error:
        said = (error.stderr or b"").decode(errors="replace")
    if said is not None:
        raise ValueError(f"--ray {address.text!r}: {_reason(address, said)}")


def _require_answered(text: str, endpoint: tuple[str, int]) -> None:
    try:
        socket.create_connection(endpoint, timeout=_CONNECT_S).close()
    except OSError as error:
        why = error.strerror or str(error) or "no answer"
        raise ValueError(f"--ray {text!r}: nothing answers there ({why})") from None


def _reason(address: Address, said: str) -> str:
    for sign, reason in _REASONS.items():
        if sign in said:
            return reason
    last = one_line(next(iter(said.strip().splitlines()[-1:]), ""))
    last = last if re.match(r"[\w.]+(Error|Exception): ", last) else ""  # else a line of some log
    if address.text == AUTO and "Failed to connect" in said:
        return "the cluster that ran on this machine does not answer any more"
    return (
        "this process can't join it; is it a Ray cluster, and this machine one of its nodes? "
        f"{last}".rstrip()
    )


def main(address: str) -> None:
    """Join, and leave without a farewell, which would take its time."""
    import ray

    ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
