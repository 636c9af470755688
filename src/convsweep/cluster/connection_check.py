"""Check in a separate process whether a cluster can be joined; Ray itself waits for minutes.

The program `python -m convsweep.cluster.connection_check ADDRESS` exits with 0 if it can join,
else it writes the error to standard error.
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
"""Together below the 15 seconds that a wrong address may take."""

_SET_TOKEN = "set RAY_AUTH_TOKEN or the file ~/.ray/auth_token to that of the cluster"
_REASONS = {
    "InvalidAuthToken": f"wrong token; {_SET_TOKEN}",
    "no authentication token was found": f"no token; {_SET_TOKEN}",
    "Could not find any running Ray instance": "no cluster runs on this machine; use ray start",
}
"""Reason per text in Ray's error."""


def require_joinable(address: Address) -> None:
    """Raise `ValueError` if this process cannot join the running cluster."""
    if address.endpoint is not None:
        try:
            socket.create_connection(address.endpoint, timeout=_CONNECT_S).close()
        except OSError as error:
            reason = error.strerror or str(error) or "timeout"
            raise ValueError(f"--ray {address.text!r}: no connection ({reason})") from None
    command = [sys.executable, "-m", "convsweep.cluster.connection_check", address.text]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_JOIN_S, check=False)
        errors = done.stderr if done.returncode else None
    except subprocess.TimeoutExpired as error:
        errors = (error.stderr or b"").decode(errors="replace")
    if errors is not None:
        raise ValueError(f"--ray {address.text!r}: {_reason(address, errors)}")


def _reason(address: Address, errors: str) -> str:
    """Return a one-line reason for the errors of Ray."""
    for text, reason in _REASONS.items():
        if text in errors:
            return reason
    if address.text == AUTO and "Failed to connect" in errors:
        return "the cluster on this machine does not respond"
    last = one_line(next(iter(errors.strip().splitlines()[-1:]), ""))
    if not re.match(r"[\w.]+(Error|Exception): ", last):  # a line of some log
        last = ""
    return f"cannot join; is it a Ray cluster, and this machine one of its nodes? {last}".rstrip()


def main(address: str) -> None:
    """Join the cluster, and exit at once."""
    import ray

    ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
