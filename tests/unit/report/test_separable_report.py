"""The verdict in words: from the data, with intervals, and no sentence that they do not carry."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from convsweep.analysis.run import Run, read_run
from convsweep.analysis.verdicts import summarize
from convsweep.problems.problem import ConvProblem
from convsweep.report.sections.separable_explanation import reasons, short_reason
from convsweep.report.sections.separable_verdict import verdict
from convsweep.report.summary_text import answer
from convsweep.results.schema import ROOFLINE
from convsweep.results.store import Row, load
from tests.support import synthetic_runs as made
from tests.support import synthetic_study as study_of

Read = Callable[[list[Row]], Run]
PROBLEMS = made.grid((8, 32, 128), (14, 28), (3,))


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(rows: list[Row]) -> Run:
        measurements = load(made.write(tmp_path / "run", rows))
        return read_run(measurements, summarize(measurements))

    return read


def measured(
    speedup: Callable[[ConvProblem], float],
    problems: list[ConvProblem] = PROBLEMS,
    *,
    passes: int = 4,
    noise: float = 0.005,
) -> list[Row]:
    """A run in which each replacement is as fast as told; without ceilings and halves."""

    def seconds(problem: ConvProblem, backend: str, device: str) -> float:
        return 1e-4 / (speedup(problem) if backend == "separable" else 1)

    return made.rows(problems, backends=study_of.PAIR, seconds=seconds, passes=passes, noise=noise)


def told(read: Read, *args: object, **how: object) -> list[str]:
    return verdict(read(measured(*args, **how)), alone=True)


def test_it_pays_in_all(read: Read) -> None:
    (sentence,) = told(read, lambda p: 4.0)
    assert re.fullmatch(
        r"On this machine, at batch 1, kernel 3 and one thread, separable pays in all 6 problems: "
        r"3\.\d+ \[.*\] to 4\.\d+ \[.*\] times as fast as torch_conv where MACs promise 4\.2 to "
        r"8\.4\.",
        sentence,
    )


def test_it_never_pays(read: Read) -> None:
    (sentence,) = told(read, lambda p: 0.5)
    assert "separable never pays in 6 problems: 0." in sentence
    assert sentence.count("[") == 2


def test_it_pays_from_some_channels_on_and_never_below(read: Read) -> None:
    first, second = told(read, lambda p: 4.0 if p.in_channels >= 32 else 0.5)
    assert "separable pays from 32 channels on: " in first
    assert "where MACs promise 7.0 to 8.4" in first
    assert second.startswith("Below 32 channels it never pays: 0.")


def test_it_pays_from_some_size_on(read: Read) -> None:
    first, second = told(read, lambda p: 4.0 if p.input_size[0] >= 28 else 0.5)
    assert "separable pays at 28x28: " in first
    assert second.startswith("Below 28x28 it never pays: 0.")


def test_below_the_line_the_steps_are_told(read: Read) -> None:
    first, second = told(
        read, lambda p: 4.0 if p.in_channels >= 32 or p.input_size[0] >= 28 else 0.5
    )
    assert "separable pays from 32 channels on: " in first
    assert second.startswith(
        "Below 32 channels it pays in 1 of 2 problems (at 8 channels at 28x28), and is slower in 1:"
    )


def test_what_is_not_decided_is_named(read: Read) -> None:
    rows = measured(lambda p: 4.0 if p.in_channels >= 32 else 1.0, noise=0.1)
    _, second = verdict(read(rows), alone=True)
    assert second.startswith("Below 32 channels it is undecided at C8 14x14 and C8 28x28: ")


def test_here_and_there_is_counted(read: Read) -> None:
    first, second = told(
        read, lambda p: 4.0 if (p.in_channels == 32) == (p.input_size[0] == 14) else 0.5
    )
    assert "separable pays in 3 of 6 problems: " in first
    assert second == "Elsewhere it is slower in 3."


def test_one_pass_decides_nothing_and_has_no_interval(read: Read) -> None:
    first, second = told(read, lambda p: 4.0, passes=1)
    assert "whether separable pays is undecided in all 6 problems: 3." in first
    assert "[" not in first
    assert second.startswith("One pass gives no interval")


def test_one_problem_is_named(read: Read) -> None:
    (sentence,) = told(read, lambda p: 4.0, made.grid((32,), (14,), (3,)))
    assert "separable pays at C32 14x14 k3: " in sentence
    assert sentence.count("[") == 1


def test_kernels_that_agree_share_a_sentence(read: Read) -> None:
    problems = made.grid((8, 32, 128), (14, 28), (3, 5))
    same = told(read, lambda p: 4.0, problems)
    assert len(same) == 1
    assert "kernel" not in same[0]
    assert "-D" not in same[0]


def test_kernels_that_differ_have_sentences_of_their_own(read: Read) -> None:
    problems = made.grid((8, 32, 128), (14, 28), (3, 5))
    sentences = told(
        read, lambda p: 4.0 if p.in_channels >= (32 if p.kernel_size == (3, 3) else 128) else 0.5,
        problems,
    )  # fmt: skip
    starts = [s.split(" kernel ")[1][0] for s in sentences if "kernel" in s]
    assert starts == ["3", "5"]
    assert "from 32 channels on" in sentences[0]
    assert "at 128 channels" in sentences[2]


def test_ranks_have_sentences_of_their_own(read: Read) -> None:
    signals = [ConvProblem(c, c, (s,), 3, padding=1) for c in (8, 32) for s in (100, 200)]
    sentences = told(read, lambda p: 4.0 if len(p.input_size) == 2 else 0.5, [*PROBLEMS, *signals])
    assert len(sentences) == 2
    assert sentences[0].startswith("On this machine, in 1-D, at batch 1")
    assert "never pays in 4 problems" in sentences[0]
    assert sentences[1].startswith("On this machine, in 2-D, at batch 1")
    assert "pays in all 6 problems" in sentences[1]


def test_networks_are_told_apart(read: Read) -> None:
    rows = [
        replace(row, workload=network, layer=f"{row.in_channels}.{row.input_size}")
        for network, speedup in (("one", 4.0), ("two", 0.5))
        for row in measured(lambda p, speedup=speedup: speedup)
    ]
    first, second = verdict(read(rows), alone=True)
    assert first.startswith("On this machine, in one, at batch 1, kernel 3 and one thread, ")
    assert "in two" in second
    assert "never pays" in second


def test_different_data_give_different_sentences(read: Read, tmp_path: Path) -> None:
    runs = {
        "always": measured(lambda p: 4.0),
        "never": measured(lambda p: 0.5),
        "from channels": measured(lambda p: 4.0 if p.in_channels >= 32 else 0.5),
        "from sizes": measured(lambda p: 4.0 if p.input_size[0] >= 28 else 0.5),
        "undecided": measured(lambda p: 1.0, noise=0.2),
        "one pass": measured(lambda p: 4.0, passes=1),
    }
    said = set()
    for name, rows in runs.items():
        measurements = load(made.write(tmp_path / name, rows))
        said.add(tuple(verdict(read_run(measurements, summarize(measurements)), alone=True)))
    shapes = {tuple(re.sub(r"[\d.]+", "#", sentence) for sentence in told) for told in said}
    assert len(shapes) == len(runs)


def test_the_answer_begins_with_the_verdict_and_its_reason(read: Read) -> None:
    said = answer(read(study_of.rows(PROBLEMS)))
    assert said[0].startswith("On this machine, at batch 1, kernel 3 and one thread, separable ")
    assert any("as the standard layer reaches" in sentence for sentence in said[:4])
    assert any(sentence.startswith("Of 6 problems") for sentence in said)


def test_without_separable_the_answer_is_as_it_was(read: Read) -> None:
    said = answer(read(made.rows(PROBLEMS, backends=("torch_conv", "im2col"))))
    assert said[0].startswith("Of 6 problems that two or more backends computed")
    assert not any("separable" in sentence for sentence in said)


def test_several_settings_are_named(read: Read) -> None:
    rows = measured(lambda p: 4.0) + [
        replace(row, dtype="float64") for row in measured(lambda p: 0.5)
    ]
    said = answer(read(rows))
    assert said[0].startswith(
        "On cpu, float32, at batch 1, kernel 3 and one thread, separable pays"
    )
    assert said[1].startswith(
        "On cpu, float64, at batch 1, kernel 3 and one thread, separable never"
    )


def test_a_reason_says_how_far_ceilings_allow_what_macs_promise(read: Read) -> None:
    (near,) = short_reason(read(study_of.rows(PROBLEMS)))
    assert near.startswith("Of the 6.3 times that MACs promise, the machine's ceilings allow ")
    assert near.count("[") == 4
    assert near.endswith("(geometric means over 6 problems).")


def test_no_ceiling_stands_in_the_way_where_memory_is_fast(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_of, "CACHE_BYTES_PER_S", 1e12)
    (sentence,) = short_reason(read(study_of.rows(PROBLEMS)))
    assert sentence.startswith("The machine's ceilings would allow the 6.3 times that MACs promise")


@pytest.mark.parametrize(
    ("factor", "words"),
    [(0.8, "nothing is left for the rest"), (1.25, r"20\.\d \[.*\] % is left for the rest")],
)
def test_the_rest_is_told_where_there_is_one(read: Read, factor: float, words: str) -> None:
    alone = study_of.near_ceilings()

    def seconds(problem: ConvProblem, backend: str, device: str) -> float:
        return alone(problem, backend, device) * (factor if backend == "separable" else 1)

    assert re.search(words, reasons(read(study_of.rows(PROBLEMS, seconds)))[-1])


def test_without_ceilings_no_sentence_names_one(read: Read) -> None:
    rows = [row for row in study_of.rows(PROBLEMS) if row.role != ROOFLINE]
    run = read(rows)
    assert short_reason(run) == []
    realized, time = reasons(run)
    assert realized.startswith("Of the speedup that MACs promise, ")
    assert time.startswith("Of separable's time the depthwise half takes ")


def test_one_pass_explains_nothing_and_says_why_a_mean_has_no_interval(read: Read) -> None:
    run = read(study_of.rows(PROBLEMS, passes=1))
    assert reasons(run) == short_reason(run) == []
    (mean,) = [s for s in answer(run) if s.startswith("separable against torch_conv")]
    assert mean.endswith("(One pass: no interval.)")


def test_a_ceiling_that_is_surpassed_explains_nothing(read: Read) -> None:
    run = read(study_of.rows(PROBLEMS, study_of.near_ceilings(standard=1.5)))
    (sentence,) = short_reason(run)
    assert sentence.startswith(
        "The measured ceiling is no ceiling for float32: the standard layer reaches 12"
    )
    assert not any("ceilings allow" in said or "bound" in said for said in reasons(run))
    assert sentence in reasons(run)


@pytest.mark.parametrize("passes", [1, 4])
def test_every_sentence_is_free_of_what_is_missing(read: Read, passes: int) -> None:
    run = read(study_of.rows(PROBLEMS, passes=passes))
    said = [*answer(run), *reasons(run)]
    assert not any(word in sentence for sentence in said for word in ("nan", "not measured"))
