"""Click options; those that several commands share are defined once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])


def path(text: str) -> Path:
    """Return the path of a command-line value; an empty value is an error."""
    if not text:
        raise click.BadParameter("an empty value is not a file or folder")
    return Path(text)


def several(option: str, name: str, help_text: str, **more: Any) -> Callable[[Any], Any]:
    """Return an option that may be repeated; `name` is its parameter."""
    return click.option(option, name, **{"metavar": "NAME", **more}, multiple=True, help=help_text)


def single(option: str, name: str, help_text: str, **more: Any) -> Callable[[Any], Any]:
    """Return an option with one value, as a tuple of it; `name` is its parameter."""
    return several(
        option, name, help_text, callback=lambda context, option, given: given[-1:], **more
    )


def value(option: str, metavar: str, help_text: str, **more: Any) -> Callable[[Any], Any]:
    """Return an option with one value."""
    return click.option(option, metavar=metavar, help=help_text, **more)


def out(help_text: str) -> Callable[[Any], Any]:
    """Return the option `--out` of a folder."""
    return click.option("--out", metavar="DIR", type=path, help=help_text)


def table_format(help_text: str) -> Callable[[Any], Any]:
    """Return the option `--format` of a command that prints a table."""
    formats = click.Choice(["table", "markdown", "csv"])
    return click.option("--format", "form", type=formats, default="table", help=help_text)


max_error = value("--max-error", "NUMBER", "Largest relative error of a result, such as 1e-5.")
budget = value(
    "--budget", "TIME", "Longest time of the command, such as 90s; the rest is left out."
)
passes = value("--passes", "N", "Number of passes; each runs in fresh processes.", type=int)
trace = click.option(
    "--trace/--no-trace",
    default=True,
    help="Find what each case runs: operators, kernels, reorders (by default).",
)
resume = click.option("--resume", is_flag=True, help="Continue the interrupted run in --out.")
model_inputs = several(
    "--input",
    "inputs",
    "Input shape such as 1,3,224,224, batch first. Repeat it for a model of several inputs.",
    metavar="SHAPE",
    required=True,
)
across_machines = click.option(
    "--across-machines", is_flag=True, help="Accept results of other machines, versions, settings."
)


def _all_of(*options: Callable[[Any], Any]) -> Callable[[_Command], _Command]:
    def add(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


ray_options = _all_of(
    value("--ray", "ADDRESS", "Use a Ray cluster: auto, local, local:N (N nodes), or HOST:PORT."),
    value("--nodes", "LABEL", "Use only nodes with this label, KEY=VALUE."),
)
sweep_options = _all_of(
    value("--grid", "NAME", "Named grid; see convsweep list grids."),
    several("--workload", "workloads", "Layers of a network; see convsweep list workloads."),
    several(
        "--problem",
        "labels",
        "Such as n1_ci64_co64_i56x56_k3x3_s1x1_p1x1_d1x1_g1_b0.",
        metavar="LABEL",
    ),
    value(
        "--problems",
        "FILE",
        "Problems: a CSV with the columns of the workload files, descriptors of benchdnn, or a log "
        "with lines of MIOpenDriver or oneDNN. A dtype or direction that all lines share becomes "
        "the default.",
        type=path,
    ),
    value("--layer", "NAME", "Only this layer of the --workload, or of a model."),
    several(
        "--axis",
        "axes",
        "Values of one axis: in_channels=16:512:*2, size=8:64:+8 or kernel_size=1,3.",
        metavar="NAME=VALUES",
    ),
    several(
        "--batch-size",
        "batch_sizes",
        "Batch size of all problems, instead of their own.",
        metavar="N",
        type=click.IntRange(1, 65_536),
    ),
    several(
        "--backend",
        "backends",
        "Backend, or a family: basic, algorithms, kernels, engines, all. Default: those of the "
        "grid, else basic without loop. See convsweep list backends.",
    ),
    several("--device", "devices", "cpu (default), cuda, vulkan; see convsweep list devices."),
    several("--dtype", "dtypes", "float32 (default), float64, float16 or bfloat16."),
    several("--memory-format", "memory_formats", "contiguous (default) or channels_last."),
    several("--threads", "threads", "Number of threads (default 1).", metavar="N", type=int),
    several(
        "--cache",
        "caches",
        "hot (default): the input stays in the caches; cold: flush them before each call.",
        metavar="KIND",
    ),
    several(
        "--direction",
        "directions",
        "forward (default), backward_input, backward_weight, or training: all three in one step.",
        metavar="KIND",
    ),
    several(
        "--block",
        "blocks",
        "conv (default); conv_bn_act: with batch norm and ReLU; conv_bn_act_folded: the same with "
        "batch norm folded into the weights.",
        metavar="KIND",
    ),
    value(
        "--allocator",
        "KIND",
        "retain (default): keep freed memory in the process; system: the allocator's default, "
        "where large outputs cause page faults in every call.",
        default="retain",
    ),
    value(
        "--weight-kind",
        "KIND",
        "separable (default): weights that factor where the problem allows it, so that "
        "separable layers compute the same function; or dense.",
        default="separable",
    ),
    value("--case-timeout", "TIME", "Longest time per case and pass: 10s, 500ms."),
)
