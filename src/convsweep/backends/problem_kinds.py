"""Problems that a backend need not know: padding that differs at both ends, transposed ones."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from convsweep.backends import base
from convsweep.backends.steps import pad_step
from convsweep.problems.problem import ConvProblem


def for_every_kind(backend: base.Backend) -> base.Backend:
    """Return a backend that takes every problem and skips what it cannot compute.

    Unless it has `own_padding_end`, excess zeros of one end are added within the call, and the
    backend gets a problem whose padding is equal at both ends.
    """

    def unsupported(problem: ConvProblem) -> str | None:
        if problem.transposed and not backend.transposed:
            return "computes no transposed convolutions"
        if backend.gradients is not None and problem.padding != problem.padding_end:
            return "its gradients need equal padding at both ends"
        own = backend.own_padding_end
        return backend.unsupported(problem if own else evenly_padded(problem))

    def prepare(problem: ConvProblem, weights: base.Weights) -> base.Conv:
        even = evenly_padded(problem)
        conv = backend.prepare(even, weights)
        return conv if even is problem else _padding_first(problem, conv)

    def prepare_block(layers: Sequence[base.GraphLayer]) -> base.Conv:
        assert backend.prepare_block is not None
        first, *others = layers  # the 1x1 convolutions that follow have no padding
        even = evenly_padded(first.problem)
        conv = backend.prepare_block([first._replace(problem=even), *others])
        return conv if even is first.problem else _padding_first(first.problem, conv)

    def of_even(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda problem, *others: function(evenly_padded(problem), *others)

    if backend.own_padding_end:
        return backend if backend.transposed else replace(backend, unsupported=unsupported)
    return replace(
        backend,
        prepare=prepare,
        prepare_block=prepare_block if backend.prepare_block else None,
        unsupported=unsupported,
        macs=of_even(backend.macs),
        min_bytes=of_even(backend.min_bytes),
        error_bound=of_even(backend.error_bound),
    )


def evenly_padded(problem: ConvProblem) -> ConvProblem:
    """Return the problem with the excess zeros of one end as part of its input."""
    if problem.padding == problem.padding_end:
        return problem
    even = tuple(map(min, problem.margins))
    sizes = zip(problem.input_size, problem.margins, even, strict=True)
    size = tuple(i + sum(both) - 2 * p for i, both, p in sizes)
    return replace(problem, input_size=size, padding=even, padding_end=even)


def excess(problem: ConvProblem) -> list[tuple[int, int]]:
    """Return the excess zeros of both ends per dimension."""
    return [(p - min(p, e), e - min(p, e)) for p, e in problem.margins]


def _padding_first(problem: ConvProblem, conv: base.Conv) -> base.Conv:
    """Return a function that adds the excess zeros and calls `conv`."""
    padded = pad_step(excess(problem))

    def whole(x: base.Tensor) -> base.Tensor:
        return conv(padded(x))

    def found(name: str, x: base.Tensor) -> base.Implementation:
        own: base.Implementation = getattr(conv, name)(padded(x))
        return own if own.reorders is None else replace(own, reorders=own.reorders + 1)

    if not hasattr(conv, "implementation"):
        return whole
    return base.tells(whole, partial(found, "implementation"), partial(found, "measured"))
