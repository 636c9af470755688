"""Address of a cluster, as in `--ray`, and a check whether it can be joined.

The check runs in a separate process, because Ray itself waits for minutes. The program
`python -m convsweep.cluster.address ADDRESS` exits with 0 if it can join, else it writes the
error to standard error.
"""

import faulthandler
import logging
import os
import re
import socket
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec

from convsweep.formatting import one_line

_AUTO = "auto"
_MAX_LOCAL_NODES = 16
_CONNECT_S, _JOIN_S = 2.0, 8.0  # Together below the 15 seconds that a wrong address may take
_PROCESS_S = 60.0  # with Python's and Ray's start, which is slow on a busy machine

_SET_TOKEN = "set RAY_AUTH_TOKEN or the file ~/.ray/auth_token to that of the cluster"
_REASONS = {
    "InvalidAuthToken": f"wrong token; {_SET_TOKEN}",
    "no authentication token was found": f"no token; {_SET_TOKEN}",
    "Could not find any running Ray instance": "no cluster runs on this machine; use ray start",
}
"""Reason per text in Ray's error."""


@dataclass(frozen=True)
class Address:
    """Address of a running cluster, or a number of nodes to start on this machine."""

    text: str
    local_nodes: int = 0  # Nodes to start; 0: the cluster is running

    @property
    def endpoint(self) -> tuple[str, int] | None:
        """Host and port; None for `auto` and `local`."""
        if self.local_nodes or self.text == _AUTO:
            return None
        host, _, port = self.text.rpartition(":")
        return host.strip("[]"), int(port)


def parse_label(text: str) -> tuple[str, str]:
    """Return key and value of a label; raise `ValueError` if it is not KEY=VALUE."""
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise ValueError(f"--nodes {text!r} is not a label KEY=VALUE")
    return key, value


def parse_address(text: str) -> Address:
    """Return the address in `--ray`; raise `ValueError` if it is wrong or Ray is missing."""
    if find_spec("ray") is None:
        raise ValueError(f"--ray {text!r} needs the package ray: pip install 'convsweep[ray]'")
    if text == _AUTO:
        return Address(text)
    if match := re.fullmatch(r"local(?::([1-9]\d{0,3}))?", text):
        nodes = int(match[1] or 1)
        if nodes <= _MAX_LOCAL_NODES:
            return Address(text, nodes)
        raise ValueError(f"--ray {text!r} exceeds {_MAX_LOCAL_NODES} nodes on one machine")
    match = re.fullmatch(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})", text)
    if match is None or not 1 <= int(match[1]) <= 65535:
        raise ValueError(f"--ray {text!r} is not auto, local, local:N or HOST:PORT")
    return Address(text)


def require_joinable(address: Address) -> None:
    """Raise `ValueError` if this process cannot join the running cluster."""
    if address.endpoint is not None:
        try:
            socket.create_connection(address.endpoint, timeout=_CONNECT_S).close()
        except OSError as error:
            reason = error.strerror or str(error) or "timeout"
            raise ValueError(f"--ray {address.text!r}: no connection ({reason})") from None
    command = [sys.executable, "-m", "convsweep.cluster.address", address.text]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PROCESS_S, check=False
        )
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
    if address.text == _AUTO and "Failed to connect" in errors:
        return "the cluster on this machine does not respond"
    last = one_line(next(iter(errors.strip().splitlines()[-1:]), ""))
    if not re.match(r"[\w.]+(Error|Exception): ", last):  # a line of some log
        last = ""
    return f"cannot join; is it a Ray cluster, and this machine one of its nodes? {last}".rstrip()


def main(address: str) -> None:
    """Join the cluster, and exit at once; exit with an error after eight seconds."""
    import ray

    faulthandler.dump_traceback_later(_JOIN_S, exit=True)
    ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
