"""What the layers of the shipped networks add up to, held against what others count."""

import math

import pytest
import torch
from torch.nn.functional import conv2d
from torch.utils.flop_counter import FlopCounterMode

from convsweep.problems.problem import ConvProblem
from convsweep.problems.separable import depthwise_part, pointwise_part, predicted_share
from convsweep.problems.workloads import CONVBENCH, MOBILENET, STANDARD_MOBILENET, Layer, workloads

CLASSES = 1000
# Of one image: the published multiply-accumulates of the whole network, and the inputs of its
# classifier. SOURCES.md beside the layers names where each figure stands.
PUBLISHED = {
    "mobilenetv1_100": (569e6, 1024),
    "mobilenetv1_100_standard": (4866e6, 1024),
    "resnet18": (1.814e9, 512),
    "resnet50": (4.089e9, 2048),
    "vgg16": (15.47e9, 4096),
    "mobilenetv2_100": (0.301e9, 1280),
    "mobilenetv3_large_100": (0.217e9, 1280),
    "efficientnet_b0": (0.386e9, 1280),
    "convnext_tiny": (4.456e9, 768),
    "densenet121": (2.834e9, 1024),
    "resnext50_32x4d": (4.23e9, 2048),
    "inception_v3": (5.713e9, 2048),
    "ghostnet_100": (141e6, 1280),
    "regnety_008": (0.8e9, 768),
    "xception41": (9.28e9, 2048),
}
NAMED_IN_PAPERS = {"resnet50": 4.09e9, "mobilenetv2_100": 0.30e9, "vgg16": 15.5e9}
TABLE_4 = {STANDARD_MOBILENET: (4866e6, 29.3e6), MOBILENET: (569e6, 4.2e6)}


def macs(workload: str) -> int:
    return sum(layer.count * layer.problem.macs for layer in workloads()[workload])


def macs_of_linear_layers(workload: str) -> int:
    """The classifier's, and those of the two in each of ConvNeXt's blocks: C to 4 C and back."""
    _, features = PUBLISHED[workload]
    total = features * CLASSES
    if workload == "convnext_tiny":
        total += sum(
            layer.count * math.prod(layer.problem.output_size) * 8 * layer.problem.out_channels**2
            for layer in workloads()[workload]
            if layer.problem.is_depthwise
        )
    return total


def parameters(workload: str, features: int = 1024) -> int:
    """Weights, each batch norm's two numbers a channel, and the classifier with its bias."""
    of_layers = (
        layer.count * (math.prod(layer.problem.weight_shape) + 2 * layer.problem.out_channels)
        for layer in workloads()[workload]
    )
    return sum(of_layers) + (features + 1) * CLASSES


def test_every_network_has_a_published_total() -> None:
    assert PUBLISHED.keys() == workloads().keys() - {CONVBENCH}


@pytest.mark.parametrize("workload", PUBLISHED)
def test_a_networks_multiply_accumulates_are_the_published_ones(workload: str) -> None:
    published, _ = PUBLISHED[workload]
    assert macs(workload) + macs_of_linear_layers(workload) == pytest.approx(published, rel=0.01)


@pytest.mark.parametrize("workload", NAMED_IN_PAPERS)
def test_the_convolutions_alone_are_what_the_papers_round_to(workload: str) -> None:
    assert macs(workload) == pytest.approx(NAMED_IN_PAPERS[workload], rel=0.01)


@pytest.mark.parametrize("workload", TABLE_4)
def test_mobilenet_and_its_standard_twin_are_the_papers_table_4(workload: str) -> None:
    published_macs, published_parameters = TABLE_4[workload]
    assert macs(workload) + 1024 * CLASSES == pytest.approx(published_macs, rel=0.01)
    assert parameters(workload) == pytest.approx(published_parameters, rel=0.01)


def test_the_standard_twins_convolutions_are_the_papers_to_the_last_digit() -> None:
    assert round(macs(STANDARD_MOBILENET) / 1e6) == 4866


@pytest.mark.parametrize(
    "layer", workloads()[STANDARD_MOBILENET], ids=lambda layer: str(layer.name)
)
def test_the_halves_of_the_twins_layers_are_the_published_networks(layer: Layer) -> None:
    published = {other.name: other for other in workloads()[MOBILENET]}
    if layer.name in published:
        assert layer.problem == published[layer.name].problem
        return
    depthwise, pointwise = published[f"{layer.name}.dw"], published[f"{layer.name}.pw"]
    assert depthwise_part(layer.problem) == depthwise.problem
    assert pointwise_part(layer.problem) == pointwise.problem
    assert layer.count == depthwise.count == pointwise.count
    both = depthwise.problem.macs + pointwise.problem.macs
    assert both / layer.problem.macs == pytest.approx(predicted_share(layer.problem))


def counted_by_torch(problem: ConvProblem) -> int:
    """What torch's own counter says of the convolution, without doing its arithmetic."""
    x, weight = (
        torch.empty(shape, device="meta") for shape in (problem.input_shape, problem.weight_shape)
    )
    bias = torch.empty(problem.out_channels, device="meta") if problem.bias else None
    with FlopCounterMode(display=False) as counter:
        y = conv2d(
            x, weight, bias, problem.stride, problem.padding, problem.dilation, problem.groups
        )
    assert y.shape == problem.output_shape
    return int(counter.get_total_flops())


@pytest.mark.parametrize("workload", workloads())
def test_every_layers_flops_are_those_that_torch_counts(workload: str) -> None:
    problems = {layer.problem for layer in workloads()[workload]}
    assert {p: p.flops for p in problems} == {p: counted_by_torch(p) for p in problems}
