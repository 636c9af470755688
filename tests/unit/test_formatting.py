"""Names of files: bounded, and of characters that every system takes."""

import re

from hypothesis import example, given
from hypothesis import strategies as st

from convsweep.formatting import slug


@given(st.text())
@example("x" * 300)
@example("../../etc/passwd\0")
@example("")
@example("\udcff")
def test_a_part_of_a_file_name_is_short_and_plain(text: str) -> None:
    assert re.fullmatch(r"[a-z0-9_]{1,100}", slug(text))


def test_names_that_were_shortened_still_differ() -> None:
    names = ["x" * 300, "x" * 301, "模型", "模块", "", "net", "net\0"]
    assert len({slug(name) for name in names}) == len(names)
    assert slug("cuda:0, float16") == "cuda_0_float16"
