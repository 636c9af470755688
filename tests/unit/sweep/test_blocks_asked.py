"""Requests for blocks that no backend could compute."""

from dataclasses import replace

import pytest

from convsweep.sweep.request import Options, read_request

LABEL = "n1_ci8_co8_i9x9_k1x1_s1x1_p0x0_d1x1_g1_b0"
WANTED = Options(labels=[LABEL], backends=["separable"], blocks=["conv_bn_act"])


def test_a_block_of_separable_backends_needs_a_problem_with_a_separable_form() -> None:
    with pytest.raises(ValueError, match=LABEL):
        read_request(WANTED)


@pytest.mark.parametrize("other", [{"backends": ["separable", "im2col"]}, {"blocks": ["conv"]}])
def test_otherwise_cases_are_skipped_one_by_one(other: dict[str, list[str]]) -> None:
    assert "separable" in {case.backend for case in read_request(replace(WANTED, **other)).skipped}
