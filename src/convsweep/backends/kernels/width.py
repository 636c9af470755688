"""Request for vectors of a certain width, by an environment variable; without Numba."""

import os

_VARIABLE, _ALLOWED = "CONVSWEEP_LANES", ("8", "16")


def requested_lanes() -> int | None:
    """Return the floats per vector that CONVSWEEP_LANES asks for, or None if it is not set.

    Raises:
        ValueError: another number than 8 or 16.
    """
    text = os.environ.get(_VARIABLE)
    if not text:
        return None
    if text not in _ALLOWED:
        raise ValueError(f"{_VARIABLE} is {text!r}; allowed: {', '.join(_ALLOWED)}")
    return int(text)
