"""A hundred models of all sorts, by name, for `advise` and `optimize`."""

from __future__ import annotations

import os
import pdb
import subprocess
import sys
from collections import OrderedDict
from functools import partial
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.nn.utils import parametrizations, parametrize, prune

from tests.support.odd_modules import (
    IMAGE,
    Calls,
    Loud,
    Nested,
    NoCopy,
    NoModules,
    OddModel,
    Outside,
    Shown,
    Twice,
    changed,
    deep,
    denormal,
    doing,
    failing,
    fill,
    function,
    hooked,
    nested_tensor,
    plain,
    quantized,
    raising,
    really_sparse,
    small,
    sparse_weight,
    tied,
)

conv1d, conv2d, conv3d = nn.Conv1d, nn.Conv2d, nn.Conv3d
COMPLEX = torch.complex64
MODELS: dict[str, OddModel] = {
    "small": plain(small),
    **{
        f"{dtype}": plain(partial(changed, lambda m, d=dtype: m.to(getattr(torch, d))))
        for dtype in ("float16", "bfloat16", "float64")
    },
    "float8": plain(partial(changed, lambda m: m.to(torch.float8_e4m3fn)), measured=False),
    "mixed_dtypes": function(lambda c, x: c(x.half()).float(), conv=lambda: conv2d(3, 8, 3).half()),
    "autocast": function(lambda c, x: torch.autocast("cpu", torch.bfloat16)(c)(x)),
    "compiled": plain(lambda: torch.compile(small())),
    "compiled_inside": plain(lambda: nn.Sequential(nn.Conv2d(3, 3, 1), torch.compile(small()))),
    "compiled_twice": plain(lambda: torch.compile(torch.compile(small())), measured=False),
    "compiled_in_place": plain(partial(changed, lambda m: m.compile())),
    "compiled_layer": plain(lambda: torch.compile(nn.Conv2d(3, 8, 3))),
    "compiled_half": plain(lambda: torch.compile(small().half())),
    "compiled_forward": plain(lambda: Calls(torch.compile(lambda c, x: c(x).relu()))),
    "compiled_fullgraph": plain(lambda: torch.compile(small(), fullgraph=True)),
    "compiled_eager": plain(lambda: torch.compile(small(), backend="eager")),
    "compiled_raising": plain(
        lambda: torch.compile(Calls(lambda c, x: c(x).no_such())), measured=False
    ),
    "scripted": plain(lambda: torch.jit.script(small())),
    "scripted_layer": plain(lambda: torch.jit.script(nn.Conv2d(3, 8, 3))),
    "scripted_inside": plain(lambda: nn.Sequential(torch.jit.script(small()), nn.Conv2d(8, 8, 1))),
    "frozen": plain(lambda: torch.jit.freeze(torch.jit.script(small().eval()))),
    "traced": plain(lambda: torch.jit.trace(small(), torch.ones(1, 3, 16, 16))),
    "fx": plain(lambda: fx.symbolic_trace(small())),
    "exported": plain(lambda: torch.export.export(small(), (torch.ones(1, 3, 16, 16),)).module()),
    "data_parallel": plain(lambda: nn.DataParallel(small())),
    "wrapped": plain(lambda: Nested(small())),
    "wrapped_100": plain(partial(deep, 100)),
    "wrapped_250": plain(partial(deep, 250), measured=False),
    "wrapped_3000": plain(partial(deep, 3000), measured=False),
    "weight_norm": plain(partial(changed, lambda m: parametrizations.weight_norm(m[0]))),
    "weight_norm_old": plain(partial(changed, lambda m: nn.utils.weight_norm(m[0]))),
    "spectral_norm": plain(partial(changed, lambda m: parametrizations.spectral_norm(m[2]))),
    "parametrized": plain(
        partial(changed, lambda m: parametrize.register_parametrization(m[0], "weight", Twice()))
    ),
    "pruned": plain(partial(changed, lambda m: prune.l1_unstructured(m[0], "weight", 0.5))),
    "quantized": plain(quantized, measured=False),
    "quantized_dynamic": plain(
        lambda: torch.ao.quantization.quantize_dynamic(nn.Sequential(small(), nn.Linear(14, 4)))
    ),
    "meta": plain(lambda: small().to("meta")),
    "meta_inside": plain(lambda: nn.Sequential(nn.Conv2d(3, 3, 1), small().to("meta"))),
    "lazy": plain(lambda: nn.LazyConv2d(8, 3)),
    "lazy_net": plain(
        lambda: nn.Sequential(nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d()), measured=False
    ),
    "inference_weights": plain(lambda: torch.inference_mode()(small)()),
    "two_inputs": function(lambda c, x, y: c(x) + c(y), IMAGE, IMAGE),
    "two_sizes": function(lambda c, x: (c(x), c(x[..., :9, :9]))),
    "too_few_inputs": function(lambda c, x, y: c(x) + c(y), IMAGE, measured=False),
    "wrong_channels": plain(small, "1,4,16,16", measured=False),
    "too_small": plain(small, "1,3,2,2", measured=False),
    "no_batch": plain(small, "3,16,16"),
    "integers": function(lambda c, x: nn.Embedding(4, 3)(x), measured=False),
    "keyword_input": plain(lambda: Calls(lambda c, x: c(input=x))),
    "shared": plain(lambda: nn.Sequential(*[nn.Conv2d(3, 3, 3)] * 3)),
    "tied": plain(tied),
    "conv1d": plain(lambda: conv1d(3, 8, 3), "1,3,64"),
    "conv1d_depthwise": plain(lambda: conv1d(8, 8, 4, groups=8), "1,8,64"),
    "conv3d": plain(lambda: conv3d(2, 4, 3), "1,2,6,6,6"),
    **{
        f"conv{rank + 1}d_transposed": plain(partial(kind, 4, 4, 3), shape)
        for rank, (kind, shape) in enumerate(
            (
                (nn.ConvTranspose1d, "1,4,9"),
                (nn.ConvTranspose2d, "1,4,9,9"),
                (nn.ConvTranspose3d, "1,4,5,5,5"),
            )
        )
    },
    "transposed_too": plain(lambda: nn.Sequential(small(), nn.ConvTranspose2d(8, 4, 3))),
    **{
        mode: plain(partial(conv2d, 3, 8, 3, padding=1, padding_mode=mode))
        for mode in ("circular", "reflect", "replicate")
    },
    "same_even": plain(lambda: conv2d(3, 8, 4, padding="same")),
    "same_dilated": plain(lambda: conv2d(3, 8, 2, padding="same", dilation=3)),
    "strided_dilated": plain(lambda: conv2d(3, 6, 3, 2, dilation=2, groups=3)),
    "unfold": function(lambda c, x: F.unfold(x, 3), measured=False),
    "tuple_output": function(lambda c, x: (c(x), x)),
    "dict_output": function(lambda c, x: {"y": c(x), "n": 3}),
    "ordered_output": function(lambda c, x: OrderedDict(y=c(x))),
    "no_output": function(lambda c, x: [c(x)][1:]),
    "integer_output": function(lambda c, x: c(x).argmax(1)),
    "training_mode": plain(
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Dropout(0.5)).train()
    ),
    "random": function(lambda c, x: c(x + torch.randn_like(x))),
    "hooks": plain(hooked),
    "functional": function(lambda c, x: F.conv2d(x, torch.ones(4, 3, 3, 3))),
    "functional_same": function(lambda c, x: F.conv2d(x, torch.ones(4, 3, 2, 2), padding="same")),
    "functional_only": plain(
        lambda: Calls(lambda c, x: F.conv2d(x, torch.ones(4, 3, 3, 3)), nn.Identity())
    ),
    "data_dependent": function(
        lambda c, x: c(x) if x.sum().item() > 1e9 else c(c.bias.new_ones(x.shape))
    ),
    "no_convolution": plain(lambda: nn.Linear(16, 4), measured=False),
    "empty": plain(nn.Sequential, measured=False),
    "no_forward": plain(nn.Module, measured=False),
    "complex": plain(lambda: conv2d(3, 8, 3, dtype=COMPLEX), measured=False),
    "complex_functional": function(
        lambda c, x: F.conv2d(x.to(COMPLEX), torch.ones(4, 3, 3, 3, dtype=COMPLEX)).abs(),
        measured=False,
    ),
    "complex_beside": function(
        lambda c, x: (c(x), F.conv2d(x.to(COMPLEX), torch.ones(4, 3, 3, 3, dtype=COMPLEX)).abs())
    ),
    "complex_transposed": function(
        lambda c, x: F.conv_transpose2d(x.to(COMPLEX), torch.ones(3, 4, 3, 3).to(COMPLEX)).abs(),
        measured=False,
    ),
    "integer_convolution": function(
        lambda c, x: F.conv2d(x.long(), torch.ones(4, 3, 3, 3).long()).float(), measured=False
    ),
    "sparse_weight": function(sparse_weight),
    "really_sparse": function(really_sparse, measured=False),
    "nested_tensor": function(nested_tensor),
    "conv_tbc": function(
        lambda c, x: torch.conv_tbc(x, torch.ones(3, 4, 5), torch.ones(5)), "9,1,4", measured=False
    ),
    "gradients": function(lambda c, x: torch.enable_grad()(c)(x)),
    "backward_inside": function(
        lambda c, x: torch.autograd.grad(torch.enable_grad()(c)(x).sum(), c.weight), measured=False
    ),
    "vmap": function(lambda c, x: torch.vmap(c)(x[None])),
    "threads": doing(lambda: torch.set_num_threads(2)),
    "denormals": plain(partial(denormal, 0.5)),
    "few_denormals": plain(partial(denormal, 0.005)),
    **{
        name: plain(partial(changed, fill(value)))
        for name, value in {"zeros": 0.0, "not_finite": float("nan"), "huge": 1e38}.items()
    },
    "no_copy": plain(lambda: NoCopy(3, 8, 3)),
    "no_parameters": plain(NoModules, measured=False),
    "unprintable": plain(partial(changed, lambda m: setattr(m, "shown", Shown()))),
    "named_strangely": plain(
        partial(changed, lambda m: m.add_module("[/]\x1b[31m =1\u202e", nn.Conv2d(8, 8, 1)))
    ),
    "prints": doing(lambda: print("x" * 50)),  # noqa: T201
    "prints_by_descriptor": doing(lambda: os.write(1, b"raw\n")),
    "prints_from_child": doing(lambda: subprocess.run(["echo", "child"], check=True)),
    "exits": doing(lambda: sys.exit(0), measured=False),
    "exits_1": doing(lambda: sys.exit("bye"), measured=False),
    "reads": doing(input, measured=False),
    "debugs": doing(pdb.set_trace, measured=False),
    "raises": raising(ValueError("no\nluck")),
    "raises_loudly": raising(Loud()),
    "raises_outside": raising(Outside("out")),
    "raises_interrupt": raising(KeyboardInterrupt()),
    "raises_stop": raising(StopIteration()),
    "raises_generator_exit": raising(GeneratorExit()),
    "raises_memory": raising(MemoryError()),
    "raises_unicode": raising(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "\ud800")),
    "made_exits": failing(SystemExit(0)),
    "made_loudly": failing(Loud()),
    "made_outside": failing(Outside()),
    "made_interrupt": failing(KeyboardInterrupt()),
    "made_reading": OddModel(input, measured=False),
    "made_breakpoint": OddModel(breakpoint, measured=False),
    "made_none": OddModel(lambda: None, measured=False),
    "made_class": OddModel(lambda: nn.Conv2d, measured=False),
    "made_unprintable": OddModel(Shown, measured=False),
    "made_printing": OddModel(lambda: (os.write(1, b"raw\n"), print("made"), small())[2]),  # noqa: T201
}


models = SimpleNamespace(**{name: model.make for name, model in MODELS.items()})
"""Factories: FILE.py:models.NAME."""
