"""Names that an output could take for something else than text."""

NAMES = (
    # the terminal, and rich's markup
    "[/]", "[red]x", "[link=file:///]x", ":skull:", "\x1b[31mred", "\x1b]0;title\x07", "\x9b31m",
    "over\rwritten", "two\nlines", "\ttab", "a\x00b", "\x7f\b\b", "line\u2028break", "\x85next",
    # marks that nobody sees
    "\u202egnp.exe", "\u2066isolate", "\u200b", "\ufeffbom", "soft\u00adhyphen", "a\ud83db",
    # spreadsheets
    "=1+1", "@SUM(A1)", "+1", "-2+3", "=cmd|' /C calc'!A0",
    # HTML, Jinja and Markdown
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "&lt;", "{{ 7 * 7 }}",
    "{% raw %}", "a|b", "`code", "[a](javascript:alert(1))", "[a]: http://b.c", "# heading",
    "- item", "1. item", "***", "__bold__", "~~gone~~",
    # mathtext, formats, paths, and text that reads as another value
    "$x_{", "$\\frac{1}$", "\\", "%s {0} {x}", "../../up", "/", "nan", "None", "0", "é\u0301😀日本",
    "x" * 300,
)  # fmt: skip
