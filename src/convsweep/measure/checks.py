"""Checks of the correctness gate on a prepared backend, in several calls."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

import torch
import xxhash
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from convsweep.measure.gradients import OUTPUT
from convsweep.measure.inputs import Inputs, place_inputs
from convsweep.measure.messages import Accepted
from convsweep.measure.outcome import Outcome
from convsweep.measure.reference import Expected

Result: TypeAlias = Tensor | tuple[Tensor, ...]  # output of a forward pass, or several outputs


class Target(NamedTuple):
    """What one output must be."""

    expected: Expected
    bound: float  # largest allowed error, in units of eps * expected.scale


Targets: TypeAlias = Mapping[str, Target]
"""Of each output by its name, in the order in which they are returned."""


class Original(NamedTuple):
    """Values of the tensors that a backend receives, in other memory."""

    tensors: Sequence[Tensor]
    digests: Sequence[str]

    @classmethod
    def of(cls, inputs: Inputs) -> "Original":
        """Return the values of `inputs`, which must not change in place."""
        tensors = _tensors(inputs)
        return cls(tensors, [_digest(tensor) for tensor in tensors])


def output(expected: Expected, bound: float) -> Targets:
    """Return the target of a forward pass."""
    return {OUTPUT: Target(expected, bound)}


def check(
    conv: Callable[[Tensor], Result],
    inputs: Inputs,
    targets: Targets,
    *,
    original: Original | None = None,
    accepted: Accepted | None = None,
    once: bool = False,
    start: Callable[[], None] = lambda: None,
) -> Outcome:
    """Check a prepared backend on the tensors that are timed, in three calls: `ok` or `mismatch`.

    Two calls on `x`, with the first output overwritten in between, and one on `-x` in the same
    memory: a cached output is wrong in at least one of them. If there is a gradient of the output,
    it then has twice its value.

    Args:
        conv: function returned by the backend's `prepare`, or a `DirectedConv`.
        inputs: the tensors to be timed; unchanged afterwards.
        targets: what `conv` must return: `output(compute_reference(problem, inputs), bound)`.
        original: the values of `inputs`; None: they are copied.
        accepted: earlier comparisons, to which new ones are added.
        once: whether to make the first call only; then `recheck` has to follow.
        start: called after each change of the inputs.
    """
    original = original or Original.of(place_inputs(inputs))
    accepted = {} if accepted is None else accepted
    changed = []
    try:
        start()
        if once:
            result = _compare_all(_tuple(conv(inputs.x)), inputs, targets, accepted)
        else:
            result = _check_calls(conv, inputs, original.digests, targets, accepted, start)
    finally:
        for tensor, value, digest in zip(_tensors(inputs), *original, strict=True):
            if _digest(tensor) != digest:
                changed.append(tensor.copy_(value))
    if changed and result.reason is None:
        return Outcome("mismatch", "changes its input or its weights")
    return result


def recheck(
    timed: Callable[[], Result],
    more: Sequence[Callable[[], Result]],
    inputs: Inputs,
    targets: Targets,
    accepted: Accepted,
    start: Callable[[], None],
) -> str | None:
    """Check the last output of timed calls on `-x`; return what is wrong, or None.

    Unless PyTorch frees the memory of an output once it is dropped, `more` calls follow, whose
    outputs are kept, so that memory that is reused in turns is found.
    """
    with _changed(inputs, start):
        result = _tuple(timed())
    storages = [tensor.untyped_storage() for tensor in result if isinstance(tensor, Tensor)]
    is_own = all(storage.resizable() for storage in storages)  # until NumPy shares it
    kept: list[Any] = [StorageWeakRef(one) for one in storages]  # type: ignore[no-untyped-call]
    reason = _compare_all(result, inputs, targets, accepted, negated=True).reason
    del result, storages
    is_freed = is_own and all(reference.expired() for reference in kept)
    if reason is None and more and not is_freed:
        with _changed(inputs, start):
            results = [_tuple(call()) for call in more]
        if _share_memory([tensor for result in results for tensor in result]):
            return "after timing: returns the same memory from two calls"
        reason = _compare_all(results[-1], inputs, targets, accepted, negated=True).reason
    return reason and f"after timing, another input in the same memory: {reason}"


@contextmanager
def _changed(inputs: Inputs, start: Callable[[], None]) -> Iterator[None]:
    """Change `x` to `-x`, and double the output's gradient, in the same memory for a while."""
    x, grad = inputs.x.data, None if inputs.grad is None else inputs.grad.data
    x.neg_()  # of .data: the tensor's version counter stays the same
    if grad is not None:
        grad.mul_(2)
    try:
        start()
        yield
    finally:
        x.neg_()
        if grad is not None:
            grad.mul_(0.5)
        start()


def _check_calls(
    conv: Callable[[Tensor], Result],
    inputs: Inputs,
    digests: Sequence[str],
    targets: Targets,
    accepted: Accepted,
    start: Callable[[], None],
) -> Outcome:
    first = _tuple(conv(inputs.x))
    changed_grad = inputs.grad is not None and _digest(inputs.grad) != digests[-1]
    if changed_grad or _digest(inputs.x) != digests[0]:
        return Outcome("mismatch", "changes its input")
    result = _compare_all(first, inputs, targets, accepted)
    if result.reason:
        return result
    for tensor in first:
        tensor.fill_(torch.nan)
    second = _tuple(conv(inputs.x))
    with _changed(inputs, start):
        third = _tuple(conv(inputs.x))
    if _share_memory([*first, *second, *third]):
        return Outcome("mismatch", "returns the same memory from two calls")
    if reason := _compare_all(second, inputs, targets, accepted).reason:
        return replace(result, status="mismatch", reason=f"second call: {reason}")
    if reason := _compare_all(third, inputs, targets, accepted, negated=True).reason:
        reason = f"another input in the same memory: {reason}"
        return replace(result, status="mismatch", reason=reason)
    return result


def _tuple(result: Result) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


def _tensors(inputs: Inputs) -> list[Tensor]:
    """Return all tensors that the backend receives."""
    weights = inputs.weights
    norms = [value for norm in (weights.norm, *weights.factor_norms) for value in norm or ()]
    factors = weights.factors or ()
    optional = (inputs.x, weights.dense, weights.bias, *factors, *norms, inputs.grad)
    return [tensor for tensor in optional if tensor is not None]


def _flat(tensor: Tensor) -> Tensor:
    """Return the values in one dimension, in the CPU's memory."""
    return tensor.detach().cpu().contiguous().as_strided((tensor.numel(),), (1,))


def _digest(tensor: Tensor) -> str:
    """Return a digest of the bits, in a fifth of the time of a comparison."""
    return xxhash.xxh3_128_hexdigest(_flat(tensor).view(torch.uint8).numpy().data)


def _share_memory(tensors: Sequence[Tensor]) -> bool:
    return len({tensor.untyped_storage().data_ptr() for tensor in tensors}) < len(tensors)


def _check_tensors(result: Sequence[Tensor], targets: Targets, inputs: Inputs) -> str | None:
    """Return what is wrong with the outputs apart from their values, or None."""
    if len(result) != len(targets):
        return f"returns {len(result)} tensors, not {len(targets)}"
    faults = (
        _named(name, _check_tensor(y, target, inputs))
        for y, (name, target) in zip(result, targets.items(), strict=True)
    )
    return next(filter(None, faults), None)


def _named(name: str, reason: str | None) -> str | None:
    return reason if name == OUTPUT else reason and f"{name}: {reason}"


def _check_tensor(y: Tensor, target: Target, inputs: Inputs) -> str | None:
    x, shape = inputs.x, target.expected.shape
    if not isinstance(y, Tensor):
        return f"returns a {type(y).__name__}, not a tensor"
    if tuple(y.shape) != shape:
        return f"returns shape {tuple(y.shape)}, not {shape}"
    if y.dtype != x.dtype:
        return f"returns {y.dtype}, not {x.dtype}"
    if y.device != x.device:
        return f"returns a tensor on {y.device}, not on {x.device}"
    if any(_share_memory([y, tensor]) for tensor in _tensors(inputs)):
        return "returns the memory of its input or weights"
    return None


def _compare_all(
    result: Sequence[Tensor],
    inputs: Inputs,
    targets: Targets,
    accepted: Accepted,
    *,
    negated: bool = False,
) -> Outcome:
    """Check outputs for x, or for changed inputs; return the first mismatch or the worst `ok`."""
    if reason := _check_tensors(result, targets, inputs):  # the error's unit follows from the dtype
        return Outcome("mismatch", reason)
    outcomes = []
    for y, (name, target) in zip(result, targets.items(), strict=True):
        outcome = _compare(y, name, target, accepted, negated)
        if outcome.reason:
            return replace(outcome, reason=_named(name, outcome.reason))
        outcomes.append((outcome.error_ratio or 0.0, outcome))
    return max(outcomes, key=lambda pair: pair[0])[1]


def _compare(y: Tensor, name: str, target: Target, accepted: Accepted, negated: bool) -> Outcome:
    """Compare an output with its reference, unless the same bits have passed.

    Those for changed inputs may have passed as the output for x, times a factor.
    """
    values = _flat(y)  # a copy, if it is on a device or channels last
    key = f"{name} {negated} {_digest(values)}"
    if key not in accepted:
        undone = target.expected.undone(values) if negated else None
        same = None if undone is None else accepted.get(f"{name} {False} {_digest(undone)}")
        result = same or target.expected.compare(values, target.bound, negated)
        if result.reason:
            return result
        accepted[key] = result
    return accepted[key]
