"""Loading the user's own model: modules, files, zoos, and refusals."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from convsweep.measure.messages import TimeNetwork
from convsweep.measure.network_timing import time_network
from convsweep.models.advise.trace import record
from convsweep.problems.model_loader import load_model, short_name
from tests.support import hand_written_model

MODELS = Path(hand_written_model.__file__)


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
