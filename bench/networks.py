"""Models for `convsweep optimize bench/networks.py:NAME`: the networks of the workloads."""

from functools import partial

from convsweep.problems.networks import build

mobilenetv1 = partial(build, "mobilenetv1_100")
mobilenetv2 = partial(build, "mobilenetv2_100")
resnet50 = partial(build, "resnet50")
vgg16 = partial(build, "vgg16")
