"""A replaced layer is right whatever happens to its weights, and torch's where it has to be."""

import copy
import os
import sys
from collections.abc import Callable, Iterator
from threading import Barrier, Thread

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.functional import conv2d

from convsweep.models.optimize import dispatch
from convsweep.models.optimize.dispatch import BackendChoice, Dispatch, this_machine
from convsweep.models.optimize.geometry import geometry, key_of
from convsweep.models.optimize.layers import replace


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Two would wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(0))


def layer(x: Tensor, out_channels: int = 40) -> nn.Conv2d:
    """On im2col; of its 8000 weights a sample is compared."""
    torch.manual_seed(1)
    conv = nn.Conv2d(x.shape[1], out_channels, 5, padding=2).eval().requires_grad_(False)
    own = geometry(conv, x)
    assert own is not None
    choices = {key_of(x): BackendChoice("im2col", own, "contiguous")}
    replace(conv, Dispatch(1, this_machine(), choices))
    return conv


def right(conv: nn.Conv2d, x: Tensor) -> bool:
    true = conv2d(x, conv.weight, conv.bias, padding=2)
    return torch.allclose(conv(x), true, rtol=1e-4, atol=1e-5)


@pytest.fixture
def prepares(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the backends that were prepared."""
    found: list[str] = []
    prepare = dispatch.prepare

    def counted(name: str, *more: object) -> object:
        found.append(name)
        return prepare(name, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(dispatch, "prepare", counted)
    return found


def replaced_twice(conv: nn.Conv2d) -> None:
    """The second may be given the first one's memory."""
    conv.weight.data = conv.weight.data * 2
    conv.weight.data = conv.weight.data * 2


def written_in_numpy(conv: nn.Conv2d) -> None:
    conv.weight.detach().numpy()[:] *= 2


def pruned(conv: nn.Conv2d) -> None:
    conv.weight.data.mul_(torch.rand(conv.weight.shape) < 0.9)


WRITES: dict[str, Callable[[nn.Conv2d], object]] = {
    "data": lambda conv: conv.weight.data.mul_(2),
    "moving average": lambda conv: conv.weight.data.lerp_(torch.ones(()), 0.01),
    "pruned": pruned,
    "pruned filters": lambda conv: conv.weight.data[::4].zero_(),
    "one bias": lambda conv: conv.bias.data[3:4].add_(1),
    "numpy": written_in_numpy,
    "replaced twice": replaced_twice,
    "state": lambda conv: conv.load_state_dict({k: v * 3 for k, v in conv.state_dict().items()}),
}


@pytest.mark.parametrize("out_channels", [3, 40])
@pytest.mark.parametrize("write", WRITES)
def test_changed_weights_are_computed_with(x: Tensor, write: str, out_channels: int) -> None:
    conv = layer(x, out_channels)
    assert right(conv, x)
    WRITES[write](conv)
    assert right(conv, x)
    assert conv.dispatch.calls == {"im2col": 2}


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("tap", range(25))
def test_any_tap_is_among_those_that_are_compared(
    x: Tensor, tap: int, memory_format: torch.memory_format
) -> None:
    conv = layer(x).to(memory_format=memory_format)
    assert right(conv, x)
    conv.weight.data[:, :, tap // 5, tap % 5] = 0
    assert right(conv, x)


UNSEEN: dict[str, Callable[[nn.Conv2d], object]] = {
    "training and back": lambda conv: conv.train().eval(),
    "state": lambda conv: conv.load_state_dict(conv.state_dict()),
    "moved": lambda conv: conv.cpu(),
}


@pytest.mark.parametrize("after", UNSEEN)
def test_what_no_sample_notices_is_noticed_then(x: Tensor, after: str) -> None:
    conv = layer(x)
    assert right(conv, x)
    conv.weight.data.view(-1)[-1] += 5
    UNSEEN[after](conv)
    assert right(conv, x)


def test_weights_that_stay_are_prepared_once(x: Tensor, prepares: list[str]) -> None:
    conv = layer(x)
    conv.weight.data.view(-1)[0] = torch.nan
    for _ in range(3):
        conv.eval()(x)
    assert prepares == ["im2col"]


def test_threads_prepare_once(x: Tensor, prepares: list[str]) -> None:
    rounds, wrong = 20, list[int]()
    true = layer(x)(x)
    prepares.clear()

    def first_call(conv: nn.Conv2d, start: Barrier) -> None:
        start.wait()
        torch.set_num_threads(1)
        if not torch.equal(conv(x), true):
            wrong.append(1)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(rounds):
            conv, start = layer(x), Barrier(4)
            crowd = [Thread(target=first_call, args=(conv, start)) for _ in range(4)]
            for one in crowd:
                one.start()
            for one in crowd:
                one.join()
            assert conv.dispatch.calls.keys() == {"im2col"}
    finally:
        sys.setswitchinterval(before)
    assert not wrong
    assert len(prepares) == rounds


def test_weights_made_in_inference_mode_are_torchs(x: Tensor) -> None:
    with torch.inference_mode():
        conv = copy.deepcopy(layer(x))
        assert right(conv, x)
    with torch.no_grad():
        assert right(conv, x)
    assert conv.dispatch.calls == {"torch: weights made in inference mode": 2}


def dual(conv: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(conv(forward_ad.make_dual(x, x.cos()))).tangent
    assert tangent is not None
    return tangent


TRANSFORMS: dict[str, Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]] = {
    "dual numbers": dual,
    "jvp": lambda conv, x: torch.func.jvp(conv, (x,), (x.cos(),))[1],
    "vmap": lambda conv, x: torch.vmap(conv)(torch.stack([x, x + 1])),
    "grad": lambda conv, x: torch.func.grad(lambda z: conv(z).square().sum())(x),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_what_is_transformed_is_torchs(x: Tensor, transform: str) -> None:
    conv = layer(x)
    with torch.no_grad():
        ours = TRANSFORMS[transform](conv, x)
        theirs = TRANSFORMS[transform](lambda z: conv2d(z, conv.weight, conv.bias, padding=2), x)
    assert torch.equal(ours, theirs)
    assert "im2col" not in conv.dispatch.calls


def test_weights_of_one_call_are_torchs(x: Tensor) -> None:
    conv = layer(x)
    doubled = {name: value * 2 for name, value in conv.state_dict().items()}
    y = torch.func.functional_call(conv, doubled, (x,))
    assert torch.equal(y, conv2d(x, doubled["weight"], doubled["bias"], padding=2))
    assert right(conv, x)
    assert conv.dispatch.calls == {"torch: its weight is computed": 1, "im2col": 1}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_script_is_refused(x: Tensor) -> None:
    with pytest.raises(ValueError, match="script the original"):
        torch.jit.script(nn.Sequential(layer(x)))


def test_a_forked_process_is_torchs(x: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    conv, child = layer(x), os.getpid() + 1
    assert right(conv, x)
    monkeypatch.setattr(os, "getpid", lambda: child)
    assert right(conv, x)
    assert right(copy.deepcopy(conv), x)
    assert conv.dispatch.calls == {"im2col": 1, "torch: a forked process": 1}
