"""Advice on the user's own model: loading, measuring, report and refusals."""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
import torch
from torch import nn

from convsweep import cli
from convsweep.analysis.model_advice import Advice, read_advice, write_model
from convsweep.analysis.model_savings import (
    LAYER_COLUMNS,
    SLOWER,
    UNDECIDED,
    estimate_saving,
    replacements,
)
from convsweep.measure.messages import TimeNetwork
from convsweep.measure.network_timing import time_network
from convsweep.models.advise.request import (
    distinct_layers,
    model_metadata,
    read_shape,
    request_for,
    usual_dtype,
)
from convsweep.models.advise.trace import record
from convsweep.problems.model_loader import load_model, short_name
from convsweep.problems.problem import ConvProblem
from convsweep.problems.workloads import Layer
from convsweep.report.plots.model_layers import MOST_LAYERS, draw_model
from convsweep.report.sections import advice as words
from convsweep.results import store
from convsweep.results.store import RunFolder
from convsweep.sweep.request import Options
from convsweep.sweep.resume import require_same
from tests.support import hand_written_model
from tests.support import synthetic_runs as synthetic_run

MODELS = Path(hand_written_model.__file__)


class Said(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Said]


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Type a command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def type_(*typed: str | Path) -> Said:
        monkeypatch.setattr(sys, "argv", ["convsweep", *map(str, typed)])
        with pytest.raises(SystemExit) as ended:
            cli.main(list(map(str, typed)))
        return Said(int(ended.value.code or 0), *capsys.readouterr())

    return type_


def test_a_model_comes_from_a_module_a_file_or_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(load_model("torch.nn:Identity"), nn.Identity)
    assert isinstance(load_model(f"{MODELS}:ready"), nn.Conv2d)
    (tmp_path / "nets_of_mine").mkdir()
    (tmp_path / "nets_of_mine" / "small.py").write_text(
        "from torch import nn\nclass Nets:\n    one = staticmethod(lambda: nn.ReLU())\n"
    )
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    assert isinstance(load_model("nets_of_mine.small:Nets.one"), nn.ReLU)
    assert sys.path == path


def test_a_file_may_import_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "beside_the_model.py").write_text("width = 7\n")
    (tmp_path / "net.py").write_text(
        "import beside_the_model\nfrom torch import nn\n"
        "def net():\n    return nn.Linear(beside_the_model.width, 1)\n"
    )
    model = load_model(f"{tmp_path / 'net.py'}:net")
    assert isinstance(model, nn.Linear)
    assert model.in_features == 7


def test_what_the_users_code_prints_is_not_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    load_model(f"{MODELS}:talkative")
    assert capsys.readouterr() == ("", "this model talks\n")


def test_what_the_model_prints_at_every_call_is_not_on_stdout(
    capsys: pytest.CaptureFixture[str],
) -> None:
    spec, shape = f"{MODELS}:Chatty", (1, 4, 5, 5)
    record(load_model(spec), [shape])
    time_network(TimeNetwork(spec, [shape], "cpu", "float32", "contiguous", round_s=0.001))
    assert capsys.readouterr() == ("", "called\n")


def test_pytorch_does_not_warn_of_even_kernels(recwarn: pytest.WarningsRecorder) -> None:
    record(load_model(f"{MODELS}:even"), [(1, 4, 5, 5)])
    assert [str(warning.message) for warning in recwarn] == []


BAD_MODELS = {
    "resnet18": ["'resnet18'", "package.module:factory"],
    "nowhere.nets:net": ["'nowhere'", "current folder"],
    "torch.nowhere:net": ["'torch.nowhere'"],
    "no where:net": ["'no where'"],
    "nowhere.py:net": ["'nowhere.py'", "no file"],
    "torch.nn:Convv2d": ["'torch.nn'", "'Convv2d'", "Conv2d"],
    "torch.nn:Conv2d": ["'torch.nn:Conv2d'", "raises TypeError", "in_channels"],
    f"{MODELS}:raises": ["raises RuntimeError: no luck in two lines"],
    f"{MODELS}:leaves": ["raises SystemExit"],
    f"{MODELS}:returns_text": ["returns str"],
    f"{MODELS}:number": ["is int"],
    "torchvision:resnet18": ["torchvision is not installed", "pip install torchvision"],
    "timm:resnet18": ["timm is not installed", "pip install timm"],
}


@pytest.mark.parametrize("spec", BAD_MODELS)
def test_a_model_that_can_not_be_made_is_refused_in_a_line(
    spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("torchvision", "timm"):
        monkeypatch.setitem(sys.modules, package, None)
    if "installed" in BAD_MODELS[spec][0]:
        monkeypatch.delitem(sys.modules, spec.partition(":")[0])
        monkeypatch.setattr(sys, "meta_path", [Hides(spec.partition(":")[0]), *sys.meta_path])
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z") as refused:
        load_model(spec)
    assert [part for part in BAD_MODELS[spec] if part not in str(refused.value)] == []


class Hides:
    """An importer that knows one package not to be there."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.mark.parametrize(
    "code", ["import no_such_package", "1 / 0", "import sys; sys.exit(3)", "("]
)
def test_a_file_whose_code_fails_is_refused_in_a_line(code: str, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(code)
    with pytest.raises(ValueError, match=r"\A[^\n]*net\.py' can't be imported: \w+[^\n]*\Z"):
        load_model(f"{tmp_path / 'net.py'}:net")


class Zoo:
    """Stands for a package of models, none of which has weights to begin with."""

    def __init__(self) -> None:
        self.models, self.asked = self, {}

    def list_models(self) -> list[str]:
        return ["lenet", "alexnet"]

    def get_model_builder(self, name: str) -> Callable[..., nn.Module]:
        def lenet(
            *, weights: object = "default", weights_backbone: object = "default"
        ) -> nn.Module:
            self.asked = {"weights": weights, "weights_backbone": weights_backbone}
            return nn.ReLU()

        return lenet

    def create_model(self, name: str, *, pretrained: bool = True) -> nn.Module:
        self.asked = {"pretrained": pretrained}
        return nn.ReLU()


def test_models_of_a_zoo_have_no_weights_to_download(monkeypatch: pytest.MonkeyPatch) -> None:
    zoo = Zoo()
    for package in ("torchvision", "timm"):
        monkeypatch.setitem(sys.modules, package, zoo)
    assert isinstance(load_model("torchvision:lenet"), nn.ReLU)
    assert zoo.asked == {"weights": None, "weights_backbone": None}
    assert isinstance(load_model("timm:lenet.of_1998"), nn.ReLU)
    assert zoo.asked == {"pretrained": False}
    for package in ("torchvision", "timm"):
        with pytest.raises(ValueError, match=rf"{package} has no model 'lennet'; it has lenet"):
            load_model(f"{package}:lennet")


def test_a_model_has_a_short_name() -> None:
    named = {
        "a.b.nets:small": "nets.small",
        "path/to/nets.py:small": "nets.small",
        "timm:resnet18": "resnet18",
    }
    assert {spec: short_name(spec) for spec in named} == named


def test_a_shape_is_read() -> None:
    assert read_shape("1,3,224, 224") == read_shape("1x3x224x224") == (1, 3, 224, 224)


@pytest.mark.parametrize("text", ["", "a", "1,3,", "1,,3", "0,3", "-1,3", "1.5,3", "1e9", "٣,3"])
def test_an_input_that_is_not_numbers_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="1,3,224,224") as refused:
        read_shape(text)
    assert repr(text) in str(refused.value)


def layers_of(model: nn.Module, *shape: int) -> list[Layer]:
    return distinct_layers(record(model, [shape]), "mine")


def test_each_distinct_layer_is_there_once_with_its_count() -> None:
    layers = layers_of(hand_written_model.EveryKind(), 1, 3, 16, 16)
    assert [(layer.name, layer.count) for layer in layers] == [
        ("stem", 1),
        ("shared", 2),
        ("branch.0", 1),
        ("branch.2", 1),
        ("EveryKind", 1),
        ("EveryKind", 1),
        ("volume", 1),
    ]
    assert {layer.workload for layer in layers} == {"mine"}
    assert len({layer.problem for layer in layers}) == len(layers)


def test_a_layer_of_several_modules_says_how_many() -> None:
    model = nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1) for _ in range(3)))
    assert [(x.name, x.count) for x in layers_of(model, 1, 4, 9, 9)] == [("0 and 2 more", 3)]


@pytest.mark.parametrize(
    ("factory", "reason"), [("without", "no convolution"), ("only_transposed", "transposed")]
)
def test_a_model_without_a_convolution_is_refused(factory: str, reason: str) -> None:
    shape = (1, 4) if factory == "without" else (1, 4, 5, 5)
    with pytest.raises(ValueError, match=reason):
        layers_of(getattr(hand_written_model, factory)(), *shape)


def test_what_is_asked_is_the_baseline_every_hopeful_strategy_and_the_replacement() -> None:
    layers = layers_of(nn.Conv2d(16, 16, 3), 1, 16, 28, 28)
    request = request_for("mine", layers, Options())
    assert {"torch_conv", "im2col", "separable"} <= set(request.backends)
    assert "loop" not in request.backends  # thousands of times slower
    assert (request.baseline, request.budget_s) == ("torch_conv", 60)
    assert set(request_for("mine", layers, Options(backends=("loop",))).backends) == {
        "torch_conv", "separable", "loop",
    }  # fmt: skip


def test_a_model_that_no_backend_supports_is_refused() -> None:
    layers = layers_of(nn.Conv2d(4, 4, 3), 1, 4, 9, 9)
    with pytest.raises(ValueError, match="no backend supports any layer of mine: pointwise needs"):
        request_for("mine", layers, Options(backends=("pointwise",)))
    signal = layers_of(hand_written_model.signal(), 1, 4, 9)
    with pytest.raises(ValueError, match=r"no backend supports .*channels_last"):
        request_for("mine", signal, Options(memory_formats=("channels_last",)))


def test_the_dtype_is_the_models_own() -> None:
    half = record(nn.Conv2d(4, 4, 3).to(torch.float16), [(1, 4, 9, 9)])
    assert usual_dtype(half) == "float16"


SMALL, LARGE, GROUPED = (
    ConvProblem(8, 8, (8, 8), 3, padding=1),
    ConvProblem(64, 64, (28, 28), 3, padding=1),
    ConvProblem(8, 8, (8, 8), 3, padding=1, groups=4),
)
COUNTS = {SMALL: 3, LARGE: 1, GROUPED: 2}
Seconds = Callable[[ConvProblem, str, str], float]


def advice_on(
    run_dir: Path,
    times: dict[str, float],
    problems: Sequence[ConvProblem] = (SMALL, LARGE, GROUPED),
    *,
    passes: int = 6,
    noise: float = 0.002,
    model: dict[str, object] | None = None,
) -> Advice:
    """Advice on a made-up run, in which each backend takes so many times a millisecond."""

    def seconds(problem: ConvProblem, backend: str, device: str) -> float:
        of_problem = times.get(f"{backend} {problems.index(problem)}", times[backend])
        return 1e-3 * of_problem * (2 if problem == LARGE else 1)

    rows = [
        replace(row, workload="mine", layer=f"conv{number}", layer_count=COUNTS[problem])
        for number, problem in enumerate(problems)
        for row in synthetic_run.rows(
            [problem], backends=list(dict.fromkeys(name.split()[0] for name in times)),
            passes=passes, seconds=seconds, noise=noise, seed=number,
        )
    ]  # fmt: skip
    synthetic_run.write(run_dir, rows, synthetic_run.ENVIRONMENT)
    write_model(run_dir, {"layers": [problem.label for problem in problems]} | (model or {}))
    found = read_advice(RunFolder(run_dir))
    assert found is not None
    return found


def test_layers_csv_has_a_row_for_each_distinct_layer(tmp_path: Path) -> None:
    found = advice_on(tmp_path, {"torch_conv": 1, "im2col": 0.5, "separable": 0.25})
    table = pd.read_csv(tmp_path / store.LAYERS)
    assert tuple(table.columns) == LAYER_COLUMNS == (
        "layer", "layer_count", "problem", "baseline_s", "best_backend", "best_s",
        "separable_speedup", "separable_ci_low", "separable_ci_high", "predicted_speedup",
    )  # fmt: skip
    assert list(table["problem"]) == [x.label for x in (SMALL, LARGE, GROUPED)]
    assert list(table["layer_count"]) == [3, 1, 2]
    assert set(table["best_backend"]) == {"im2col"}  # separable computes another function
    assert table["baseline_s"].to_list() == pytest.approx([1e-3, 2e-3, 1e-3], rel=0.01)
    assert table["separable_speedup"].to_list()[:2] == pytest.approx([4, 4], rel=0.01)
    assert table["predicted_speedup"].to_list()[:2] == [1 / (1 / 8 + 1 / 9), 1 / (1 / 64 + 1 / 9)]
    assert table.iloc[2, 6:].isna().all()  # a grouped layer can't be replaced
    assert (table["separable_ci_low"][:2] < table["separable_speedup"][:2]).all()
    assert found.layers[0].separable is not None


def test_totals_weigh_every_layer_by_its_count(tmp_path: Path) -> None:
    times = {"torch_conv": 1.0, "separable": 0.25, "separable 1": 1.0}
    found = advice_on(tmp_path, times)
    every = estimate_saving(found.run, found.layers, replacements(found.layers))
    now = estimate_saving(found.run, found.layers, {})
    assert now.time_s.value == pytest.approx((3 + 2 + 2) * 1e-3, rel=0.01)
    assert every.time_s.value == pytest.approx((3 * 0.25 + 2 + 2) * 1e-3, rel=0.01)
    assert every.speedup.value == pytest.approx(7 / 4.75, rel=0.01)
    assert every.speedup.low < every.speedup.value < every.speedup.high
    promised = {SMALL: 1 / (1 / 8 + 1 / 9), LARGE: 1 / (1 / 64 + 1 / 9), GROUPED: 1}
    macs_after = sum(n * p.macs / promised[p] for p, n in COUNTS.items())
    macs = sum(n * p.macs for p, n in COUNTS.items())
    assert every.mac_ratio == pytest.approx(macs / macs_after)
    assert every.convolutions == 4


def test_a_replacement_of_nothing_changes_nothing(tmp_path: Path) -> None:
    found = advice_on(tmp_path, {"torch_conv": 1, "separable": 0.5})
    nothing = estimate_saving(found.run, found.layers, {})
    assert (nothing.speedup.value, nothing.mac_ratio, nothing.convolutions) == (1, 1, 0)


def choices(advice: Advice) -> dict[str, tuple[str, ...]]:
    """Return the rows of the table of totals by choice."""
    return {row[0]: row for row in words.totals_table(advice).rows}


@pytest.mark.parametrize(
    ("separable", "more", "verdict"),
    [
        (0.2, {}, "faster"),
        (3.0, {}, "slower"),
        (1.0, {"passes": 20}, "same"),
        (0.97, {"noise": 0.1}, "undecided"),
    ],
)
def test_the_verdict_comes_first_and_follows_the_data(
    tmp_path: Path, separable: float, more: dict[str, Any], verdict: str
) -> None:
    advice = advice_on(tmp_path, {"torch_conv": 1.0, "separable": separable}, **more)
    row = choices(advice)["separable layers"]
    assert (row[1], row[4]) == ("4", verdict)
    step = words.next_step(advice)
    assert step.startswith("Retrain") == (verdict == "faster")
    assert ("--budget" in step) == (verdict == "undecided")
    assert row[3] in step


def test_replacing_only_where_it_is_faster_has_a_total(tmp_path: Path) -> None:
    mixed = advice_on(tmp_path / "mixed", {"torch_conv": 1, "separable 0": 2, "separable": 0.2})
    alike = advice_on(tmp_path / "alike", {"torch_conv": 1, "separable": 0.2})
    assert choices(mixed)["separable layers where faster"][1] == "1"
    assert "separable layers where faster" not in choices(alike)


def test_a_strategy_is_chosen_only_where_it_is_significantly_faster(tmp_path: Path) -> None:
    faster = advice_on(tmp_path / "faster", {"torch_conv": 1, "im2col": 0.5})
    slower = advice_on(tmp_path / "slower", {"torch_conv": 1, "im2col": 2})
    assert choices(faster)["fastest strategy per layer"][1] == "6"
    assert "fastest strategy per layer" not in choices(slower)
    noisy = {"noise": 0.1, "passes": 4}
    undecided = advice_on(tmp_path / "undecided", {"torch_conv": 1, "im2col": 0.98}, **noisy)
    assert "fastest strategy per layer" not in choices(undecided)
    assert any(row[5].endswith(" ?") for row in words.layer_table(undecided).rows)
    assert words.next_step(faster).startswith("Run convsweep optimize")


def test_one_figure_has_one_verdict(tmp_path: Path) -> None:
    found = advice_on(tmp_path, {"torch_conv": 1, "separable": 3}, [SMALL])
    [layer] = found.layers
    assert layer.separable is not None
    open_ = layer.separable._replace(verdict=UNDECIDED)  # as among many comparisons
    one_layer = [replace(layer, separable=open_)]
    assert estimate_saving(found.run, found.layers, replacements(found.layers)).verdict == SLOWER
    assert estimate_saving(found.run, one_layer, replacements(one_layer)).verdict == UNDECIDED
    assert "undecided" in words.next_step(found._replace(layers=one_layer))


def test_one_pass_decides_nothing(tmp_path: Path) -> None:
    advice = advice_on(tmp_path, {"torch_conv": 1, "separable": 0.2}, passes=1)
    assert choices(advice)["separable layers"][4] == "undecided"
    assert any("--budget" in note for note in words.notes(advice))


def test_the_measured_share_of_the_model_is_reported(tmp_path: Path) -> None:
    measured = sum(n * p.macs for p, n in COUNTS.items())
    model = {
        "name": "mine", "inputs": ["1x8x8x8"], "convolutions": 7, "macs": 2 * measured,
        "really_run": True, "unmeasured": [{"why": "no reason", "count": 1, "macs": measured // 2}],
    }  # fmt: skip
    sentences = " ".join(words.coverage(advice_on(tmp_path, {"torch_conv": 1}, model=model)))
    for part in ("50 %", "1 convolution, 25 %", "no reason"):
        assert part in sentences
    whole = advice_on(tmp_path / "whole", {"torch_conv": 1}, model=model | {"macs": measured})
    few = advice_on(tmp_path / "few", {"torch_conv": 1}, model=model | {"convolutions": 20})
    assert "--budget" in words.next_step(few)
    assert not any(line.startswith("Covered") for line in words.coverage(whole))


def test_convolutions_that_the_model_runs_in_another_dtype_are_counted(tmp_path: Path) -> None:
    shape = (1, 8, 8, 8)
    trace = record(nn.Conv2d(8, 8, 3, padding=1, bias=False).to(torch.bfloat16), [shape])
    text_by_dtype = {}
    for dtype in ("float32", "bfloat16"):
        there = model_metadata("a:b", [shape], trace, distinct_layers(trace, "mine"), dtype)
        found = advice_on(tmp_path / dtype, {"torch_conv": 1}, [SMALL], model=there)
        text_by_dtype[dtype] = " ".join(words.coverage(found))
    assert "1 of 1 convolutions in bfloat16" in text_by_dtype["float32"]
    assert "Other dtype" not in text_by_dtype["bfloat16"]


@pytest.mark.parametrize("model", [{}, {"name": 3}, {"unmeasured": 3}, {"unmeasured": [{}]}])
def test_an_environment_that_was_edited_hides_only_what_it_told(
    model: dict[str, object], tmp_path: Path
) -> None:
    found = advice_on(tmp_path, {"torch_conv": 1, "separable": 0.2}, model=model)
    assert found.model is None
    assert words.next_step(found)


def test_a_section_is_there_for_runs_that_advise_alone(tmp_path: Path) -> None:
    section = words.section(advice_on(tmp_path / "advice", {"torch_conv": 1, "separable": 0.2}))
    assert [len(table.rows) for _, table in section.tables] == [4, 2]
    assert section.note == words.RETRAINING
    environment = store.read_environment(tmp_path / "advice")
    del environment["model"]
    store.write_environment(tmp_path / "advice", environment)
    assert read_advice(RunFolder(tmp_path / "advice")) is None


def test_without_a_replacement_nobody_is_warned_of_retraining(tmp_path: Path) -> None:
    found = advice_on(tmp_path, {"torch_conv": 1, "im2col": 1})
    assert words.RETRAINING not in words.notes(found)


@pytest.mark.parametrize("text", ["", "nothing\n1\n", "\x00\x01"])
def test_what_is_read_back_is_the_measurements_and_not_what_was_derived(
    text: str, tmp_path: Path
) -> None:
    before = advice_on(tmp_path, {"torch_conv": 1})
    (tmp_path / store.LAYERS).write_text(text)
    again = read_advice(RunFolder(tmp_path))
    assert again is not None
    assert [x.label for x in again.layers] == [x.label for x in before.layers]


@pytest.mark.parametrize("layers", [None, 3, ["x"], [LARGE.label, 3]])
def test_layers_without_a_told_order_come_as_they_were_measured(
    layers: object, tmp_path: Path
) -> None:
    found = advice_on(tmp_path, {"torch_conv": 1}, model={"layers": layers})
    assert {x.problem for x in found.layers} == {SMALL, LARGE, GROUPED}
    first = LARGE if isinstance(layers, list) and LARGE.label in layers else SMALL
    assert found.layers[0].problem == first


BAD_COMMANDS = {
    "advise": ["MODEL"],
    f"advise {MODELS}:every_kind": ["--input"],
    f"advise {MODELS}:nothing --input 1,3": ["'nothing'"],
    f"advise {MODELS}:every_kind --input 1,three": ["'1,three'", "1,3,224,224"],
    f"advise {MODELS}:every_kind --input 1,4,16,16": ["1x4x16x16", "channels"],
    f"advise {MODELS}:every_kind --input 1,3,16,16 --input 1": ["1x3x16x16 and 1", "positional"],
    f"advise {MODELS}:raises --input 1,3": ["raises RuntimeError"],
    f"advise {MODELS}:returns_text --input 1,3": ["returns str"],
    f"advise {MODELS}:without --input 1,4": ["no convolution"],
    f"advise {MODELS}:every_kind --input 1,3,16,16 --device tpu": ["'tpu'"],
    f"advise {MODELS}:every_kind --input 1,3,16,16 --dtype int8": ["'int8'"],
    f"advise {MODELS}:every_kind --input 1,3,16,16 --threads 0": ["--threads 0"],
    f"advise {MODELS}:every_kind --input 1,3,16,16 --backend nope": ["'nope'"],
    f"advise {MODELS}:every_kind --input 1,3,16,16 --budget long": ["'long'"],
    f"advise {MODELS}:every_kind --input 1,3,16,16 --resume": ["--out"],
    f"advise {MODELS}:every_kind --input 1,3,16,16 --out taken": ["'taken'"],
    f"advise {MODELS}:signal --input 1,4,16 --memory-format channels_last": ["no backend supports"],
}


@pytest.mark.parametrize("typed", BAD_COMMANDS)
def test_a_wrong_request_is_one_line_and_writes_nothing(
    typed: str, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file")
    result = command(*typed.split())
    assert (result.code, result.out) == (2, "")
    assert [part for part in BAD_COMMANDS[typed] if part not in result.err] == []
    assert result.err.startswith("convsweep: ")
    assert result.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_advice_from_the_command_line(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "convsweep.sweep.request.ceiling_cases", lambda cases, places: []
    )  # for their time
    monkeypatch.setattr("convsweep.sweep.request.MAX_PASSES", 3)  # ends long before the budget
    words_typed = ("advise", f"{MODELS}:talkative", "--input", "1,4,9,9", "--backend", "im2col")
    result = command(*words_typed, "--budget", "300s", "--out", "run")
    assert result.code == 0
    run_dir = tmp_path / "run"
    table = pd.read_csv(run_dir / store.LAYERS)
    assert list(table["layer"]) == ["0", "1 and 1 more"]
    assert list(table["layer_count"]) == [1, 2]
    assert table["baseline_s"].gt(0).all()
    assert table["predicted_speedup"].isna().to_list() == [False, True]
    assert math.isclose(table["predicted_speedup"][0], 1 / (1 / 8 + 1 / 9))
    assert {"measurements.csv", "summary.csv", "environment.json"} <= {
        path.name for path in run_dir.iterdir()
    }
    assert "hand_written_model.talkative" in result.out
    assert len(result.out.splitlines()) <= 60
    assert "this model talks" not in result.out
    again = command(*words_typed, "--budget", "1s", "--out", "run", "--resume")
    assert again.code == 0
    for other in (("talkative", "1,4,8,8"), ("another", "1,4,9,9")):
        refused = command(
            "advise", f"{MODELS}:{other[0]}", "--input", other[1], "--out", "run", "--resume"
        )  # fmt: skip
        assert (refused.code, refused.out) == (2, "")
        assert "the model or --input differs" in refused.err


def test_other_problems_are_told_without_a_hash() -> None:
    there, here = ({"run_id": "a", "request": {"case_hash": x}} for x in ("9d14", "98da"))
    with pytest.raises(ValueError, match=r"\Acan't resume: the problems, .* differ[^\n]*\Z"):
        require_same(there, here)


def test_layers_that_fit_in_no_memory_end_with_the_reason(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "convsweep.sweep.request.ceiling_cases", lambda cases, places: []
    )  # for their time
    result = command(
        "advise", f"{MODELS}:even", "--input", "1,4,1000000,1000000", "--budget", "300s",
        "--out", "run",
    )  # fmt: skip
    assert result.code == 1
    assert "No layer has a time with torch_conv" in result.out
    assert "out_of_memory" in result.out
    assert "GiB are free" in result.out
    assert "settled" not in result.out
    assert "--budget" not in result.out


def test_a_budget_that_reaches_no_layer_is_told(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convsweep.sweep.stopping.Budget.left_s", -1.0)
    result = command("advise", f"{MODELS}:ready", "--input", "1,4,5,5", "--out", "run")
    assert (result.code, "No layer was measured" in result.out) == (1, True)
    assert pd.read_csv(tmp_path / "run" / store.LAYERS).empty


def test_what_is_told_of_the_model_is_all_of_it() -> None:
    trace = record(hand_written_model.EveryKind(), [(1, 3, 16, 16)])
    metadata = model_metadata(
        "a:b", [(1, 3, 16, 16)], trace, distinct_layers(trace, "mine"), "float32"
    )
    [unmeasured] = metadata["unmeasured"]  # type: ignore[misc]
    assert (metadata["convolutions"], unmeasured["count"]) == (8, 1)
    measured = sum(one.macs for one in trace.convolutions)
    assert measured + unmeasured["macs"] <= trace.macs


def test_the_picture_has_a_bar_per_layer_whatever_the_verdict(tmp_path: Path) -> None:
    for name, times in {
        "faster": {"torch_conv": 1.0, "separable": 0.2},
        "slower": {"torch_conv": 1.0, "separable": 4.0},
        "undecided": {"torch_conv": 1.0, "separable": 0.97},
    }.items():
        noise = 0.1 if name == "undecided" else 0.002
        found = advice_on(tmp_path / name, times, noise=noise)
        picture = draw_model(found.run, found.layers, "mine")
        assert picture is not None
        [axes] = picture.figure.axes
        assert len(axes.get_yticks()) == 3


def test_a_model_of_many_layers_shows_the_costliest(tmp_path: Path) -> None:
    many = [ConvProblem(8, 8, (size, size), 3, padding=1) for size in range(8, 8 + 20)]
    rows = [
        replace(row, workload="mine", layer=f"conv{number}")
        for number, problem in enumerate(many)
        for row in synthetic_run.rows([problem], backends=("torch_conv", "separable"))
    ]
    synthetic_run.write(tmp_path, rows, synthetic_run.ENVIRONMENT)
    write_model(tmp_path, {})
    found = read_advice(RunFolder(tmp_path))
    assert found is not None
    picture = draw_model(found.run, found.layers, "mine")
    assert picture is not None
    names = [tick.get_text() for tick in picture.figure.axes[0].get_yticklabels()]
    assert (len(names), names[-1]) == (MOST_LAYERS, "5 further layers")


def test_the_table_of_any_model_fits_on_a_screen(tmp_path: Path) -> None:
    many = [ConvProblem(8, 8, (size, size), 3, padding=1) for size in range(8, 8 + 150)]
    rows = [
        replace(row, workload="mine", layer=f"features.stage{number}.block.convolution")
        for number, problem in enumerate(many)
        for row in synthetic_run.rows([problem], backends=("torch_conv", "separable"), passes=2)
    ]
    synthetic_run.write(tmp_path, rows, synthetic_run.ENVIRONMENT)
    write_model(tmp_path, {})
    found = read_advice(RunFolder(tmp_path))
    assert found is not None
    table = words.layer_table(found)
    assert len(table.rows) <= 40
    assert sum(int(row[1]) for row in table.rows[:-1]) == int(table.rows[-1][1]) == len(many)
    columns = zip(table.heads, *table.rows, strict=True)
    assert sum(2 + max(map(len, cells)) for cells in columns) <= 100


def test_nothing_is_drawn_where_nothing_can_be_replaced(tmp_path: Path) -> None:
    found = advice_on(tmp_path, {"torch_conv": 1, "im2col": 1})
    assert draw_model(found.run, found.layers, "mine") is None
