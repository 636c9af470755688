"""Whole numbers of a problem, checked."""

import operator
from collections.abc import Sequence
from functools import lru_cache


def whole_number(name: str, value: int, least: int = 1) -> int:
    """Return a value as an integer; raise `ValueError` if it is none of at least `least`."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool):
        raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}")
    return number


def whole_numbers(
    name: str, value: int | Sequence[int], rank: int, least: int = 1
) -> tuple[int, ...]:
    """Return one integer per dimension; raise `ValueError` if there are others."""
    if not isinstance(value, Sequence):
        return _shared((whole_number(name, value, least),) * rank)
    if len(value) != rank or isinstance(value, str):
        raise ValueError(f"{name} must have {rank} numbers like input_size, not {value!r}")
    return _shared(tuple(whole_number(name, number, least) for number in value))


@lru_cache(1024)
def _shared(size: tuple[int, ...]) -> tuple[int, ...]:
    """Return one object for equal sizes; a grid has thousands of them."""
    return size
