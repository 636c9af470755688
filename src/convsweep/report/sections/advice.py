"""Section on a user's model: whether separable layers pay, and which strategy is faster."""

from convsweep.analysis.model_advice import Advice
from convsweep.report.model_text import layer_table, next_step, notes, totals_table
from convsweep.report.pages import Section
from convsweep.report.plots.model_layers import draw_model

TITLE = "Your model"
_FIRST_LAYERS = 10  # Rows of layers on the first screen


def section(advice: Advice) -> Section:
    """Return the section on a model; its first table is short."""
    few, every = layer_table(advice, _FIRST_LAYERS), layer_table(advice)
    tables = [
        ("Distinct layers, the longest time first", few),
        *([("All distinct layers", every)] if len(every.rows) > len(few.rows) else []),
        ("Choices for all layers", totals_table(advice)),
    ]
    name = advice.model.name if advice.model else "the model"
    picture = draw_model(advice.run, advice.layers, name)
    note = " ".join(notes(advice))
    return Section.of_settings(TITLE, next_step(advice), tables, {"": [picture]}, note)
