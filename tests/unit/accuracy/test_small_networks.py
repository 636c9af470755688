"""Small networks of studies: counted layers, equal cost, the network that is timed."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from convsweep.accuracy.model import ImageTask, build, deploy, layers, macs, width_of
from convsweep.results.accuracy import (
    EQUAL_COST,
    SEPARABLE,
    STANDARD,
    VARIANTS,
)

TASKS = (ImageTask(1, 8, 10), ImageTask(200, 7, 9), ImageTask(3, 12, 2), ImageTask(5, 9, 3))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_macs_are_those_that_torch_counts(task: ImageTask, variant: str) -> None:
    network = build(task, variant, 4, torch.Generator().manual_seed(0))
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(2, task.in_channels, task.size, task.size))
    assert counter.get_total_flops() == 2 * 2 * macs(task, variant, 4)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("width", [4, 8, 16])
def test_at_equal_cost_no_other_width_comes_closer(task: ImageTask, width: int) -> None:
    aim = macs(task, STANDARD, width)
    found = width_of(task, EQUAL_COST, width)
    off = [abs(macs(task, EQUAL_COST, found + step) - aim) for step in (-1, 0, 1)]
    assert min(off) == off[1]
    assert found > width == width_of(task, SEPARABLE, width)


def test_an_input_of_few_channels_keeps_its_first_layer() -> None:
    assert layers(ImageTask(3, 8, 2), SEPARABLE, 4)[0].groups == 1
    assert layers(ImageTask(4, 8, 2), SEPARABLE, 4)[0].groups == 4


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_network_that_is_timed_answers_as_the_trained_one(variant: str) -> None:
    network = build(ImageTask(4, 8, 3), variant, 4, torch.Generator().manual_seed(0))
    x = torch.randn(16, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    network.train()
    network(x)  # running means that are not those of the start
    network.eval()
    with torch.inference_mode():
        assert torch.allclose(deploy(network)(x), network(x), atol=1e-5)
