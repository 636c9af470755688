"""Code of the user's model: its output, its input, and its exceptions."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager as Context
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from io import StringIO
from threading import current_thread, main_thread
from types import FrameType
from typing import Any

import torch
from torch import nn

from convsweep.descriptors import redirected
from convsweep.formatting import error_line


class UserCodeError(ValueError):
    """Exception that the user's code raised: its class and text in one line."""


@contextmanager
def user_code(shown: bool = True) -> Iterator[None]:
    """Within, output goes to stderr, or nowhere, and stdin is empty; also in native code.

    Raises:
        UserCodeError: the code raised anything, `SystemExit` included; Ctrl-C stays an interrupt.
    """
    with ExitStack() as stack:
        interrupts = _noted_interrupts(stack)
        empty = os.open(os.devnull, os.O_RDWR)
        stack.callback(os.close, empty)
        if not shown:
            stack.enter_context(redirect_stderr(StringIO()))
            stack.enter_context(redirected(2, empty))
        stack.enter_context(redirect_stdout(sys.stderr))
        stack.enter_context(redirected(1, 2))
        stack.enter_context(redirected(0, empty))
        stack.callback(setattr, sys, "breakpointhook", sys.breakpointhook)
        sys.breakpointhook = input  # a debugger finds no input either
        try:
            yield
        except UserCodeError:
            raise
        except BaseException as error:
            if interrupts and isinstance(error, KeyboardInterrupt):
                raise
            raise UserCodeError(error_line(error)) from error


def _noted_interrupts(stack: ExitStack) -> list[int]:
    """Return a list of each Ctrl-C from now on: the code may raise `KeyboardInterrupt` too."""
    noted: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if callable(before) and current_thread() is main_thread():

        def note(number: int, frame: FrameType | None) -> None:
            noted.append(number)
            before(number, frame)

        stack.callback(signal.signal, signal.SIGINT, before)
        signal.signal(signal.SIGINT, note)
    return noted


def eager() -> Context[Any]:
    """Within, code compiled by `torch.compile` runs eagerly."""
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and its import takes a second
        return nullcontext()
    stance: Context[Any] = torch.compiler.set_stance("force_eager")
    return stance


def own_name(name: str) -> str:
    """Return a module's dotted name without the wrappers of `torch.compile`."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def uncompiled(model: nn.Module) -> nn.Module:
    """Return the module within the wrappers of `torch.compile`; also take them off within it."""
    while isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
        model = inner
    for parent in [*model.modules()]:
        for name, child in [*parent.named_children()]:
            if isinstance(getattr(child, "_orig_mod", None), nn.Module):
                setattr(parent, name, uncompiled(child))
    return model


def is_compiled(model: nn.Module) -> bool:
    """Return whether `torch.compile` was applied to the model or to a module within."""
    return any(
        "_orig_mod" in module._modules or getattr(module, "_compiled_call_impl", None) is not None
        for module in model.modules()
    )
