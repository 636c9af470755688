"""Colour of each family of backends, and marker of each backend in it."""

from collections.abc import Mapping

from convsweep.analysis.families.candidates import Candidates, Role
from convsweep.report.plots.style import COLORS, MARKERS, Look

SHADES: Mapping[str, tuple[str, ...]] = {
    Role.BASIC: ("#9e9e9e", "#CC79A7", "#d0d0d0"),
    Role.ALGORITHMS: ("#4A9FD4", "#9CCDEB", "#7F8FE8"),
    Role.KERNELS: ("#E8793A", "#F2C14E", "#F5E663", "#C98B6B"),
    Role.ENGINES: ("#2FB58A", "#9ADBC0", "#8BC34A", "#5FB9B5"),
}
"""Shades of each family, light enough for black text."""
FAMILY_COLORS: Mapping[str, str] = dict(zip(SHADES, COLORS, strict=False))
FAMILY_WORDS: Mapping[str, str] = {
    Role.BASIC: "basic",
    Role.ALGORITHMS: "algorithms in torch's operations",
    Role.KERNELS: "own kernels",
    Role.ENGINES: "engines",
}


def family_of(field: Candidates) -> dict[str, str]:
    """Return the family of each backend."""
    named = field.cases.drop_duplicates("backend")
    return {str(b): str(f) for b, f in zip(named["backend"], named["backend_family"], strict=True)}


def family_looks(field: Candidates) -> dict[str, Look]:
    """Return one look per backend, family by family, the baseline first."""
    found: dict[str, Look] = {}
    of = family_of(field)
    for family, color in FAMILY_COLORS.items():
        names = sorted((n for n in of if of[n] == family), key=lambda n: (n != field.baseline, n))
        for place, name in enumerate(names):
            found[name] = Look(color, MARKERS[place % len(MARKERS)])
    return found
