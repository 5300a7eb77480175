r"""Spellings of mathematics brought into the one that the LaTeX grammar reads: Unicode, spacing, numbers.

Text in, text out, linear in its length, and nothing is evaluated. A spelling that the grammar would misread (``25 000``
as 25 · 0, ``2.5e6`` as 2.5 · e · 6, ``43_8`` as 43) is put into one that it reads as meant.
"""

import re

_ASCII_OF_FULLWIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_PUNCTUATION = {
    "\u3000": " ",
    "\xa0": " ",
    "\u2002": " ",
    "\u2003": " ",
    "\u2009": r"\,",
    "\u200a": r"\,",
    "\u202f": r"\,",
    "\u200b": "",
    "\u2060": "",
    "\ufeff": "",
    "。": ". ",
    "、": ", ",
    "「": '"',
    "」": '"',
    "【": "[",
    "】": "]",
    "“": '"',
    "”": '"',
    "‘": "'",
    "’": "'",
    "−": "-",
    "–": "-",
    "‐": "-",
    "‑": "-",
}
_PLAIN = str.maketrans({**{chr(k): chr(v) for k, v in _ASCII_OF_FULLWIDTH.items()}, **_PUNCTUATION})

_SYMBOLS = {
    "×": r"\times ",
    "⋅": r"\cdot ",
    "·": r"\cdot ",
    "÷": r"\div ",
    "±": r"\pm ",
    "∓": r"\mp ",
    "≤": r"\le ",
    "≥": r"\ge ",
    "⩽": r"\le ",
    "⩾": r"\ge ",
    "≠": r"\ne ",
    "≈": r"\approx ",
    "≡": r"\equiv ",
    "∞": r"\infty ",
    "π": r"\pi ",
    "∪": r"\cup ",
    "∩": r"\cap ",
    "∅": r"\emptyset ",
    "∈": r"\in ",
    "∖": r"\setminus ",
    "ℝ": r"\mathbb{R}",
    "ℤ": r"\mathbb{Z}",
    "ℕ": r"\mathbb{N}",
    "ℚ": r"\mathbb{Q}",
    "ℂ": r"\mathbb{C}",
    "°": r"^\circ ",
    "…": r"\ldots ",
    "¢": r"\text{ cents}",
    "⟨": r"\langle ",
    "⟩": r"\rangle ",
    "⁄": "/",
    "∕": "/",
    "∣": r"\mid ",
    "→": r"\to ",
    "½": r"\frac{1}{2}",
    "⅓": r"\frac{1}{3}",
    "⅔": r"\frac{2}{3}",
    "¼": r"\frac{1}{4}",
    "¾": r"\frac{3}{4}",
    "⅕": r"\frac{1}{5}",
    "⅖": r"\frac{2}{5}",
    "⅗": r"\frac{3}{5}",
    "⅘": r"\frac{4}{5}",
    "⅙": r"\frac{1}{6}",
    "⅚": r"\frac{5}{6}",
    "⅛": r"\frac{1}{8}",
    "⅜": r"\frac{3}{8}",
    "⅝": r"\frac{5}{8}",
    "⅞": r"\frac{7}{8}",
}
_SYMBOL_TABLE = str.maketrans(_SYMBOLS)
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_LOWERED = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋", "0123456789+-")
_RAISED_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+")
_LOWERED_RUN = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋]+")
_ROOT = re.compile(r"([√∛∜])\s*(?:\(([^()√]*)\)|\{([^{}√]*)\}|(\d+(?:\.\d+)?|[A-Za-z]))")
_ROOT_ORDER = {"√": r"\sqrt", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]"}

_COLON = re.compile("(?<=[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af] ):(?=\\S)")
IDEOGRAPHS = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")


def plain_characters(text: str) -> str:
    """Fullwidth signs, typographic spaces, dashes and quotes as ASCII."""
    return text if text.isascii() else text.translate(_PLAIN)


def spaced_ideographs(text: str) -> str:
    """Put spaces around Chinese, Japanese and Korean words, which are written without: a number there stands alone."""
    return text if text.isascii() else _COLON.sub(r"\g<0> ", IDEOGRAPHS.sub(r" \g<0> ", text))


def latex_of_unicode(text: str) -> str:
    r"""Mathematical Unicode as LaTeX: ``√3``, ``½``, ``x²``, ``60°``, ``≤``."""
    if text.isascii():
        return text
    text = plain_characters(text)
    text = _RAISED_RUN.sub(lambda run: "^{" + run[0].translate(_RAISED) + "}", text)
    text = _LOWERED_RUN.sub(lambda run: "_{" + run[0].translate(_LOWERED) + "}", text)
    text = _ROOT.sub(lambda root: f"{_ROOT_ORDER[root[1]]}{{{root[2] or root[3] or root[4] or ''}}}", text)
    return text.translate(_SYMBOL_TABLE)


_SPACE = r"(?:\\[,;:! ]|\\thinspace(?![A-Za-z])|~|\ )"
_GROUPED = re.compile(rf"(?<![\d.,_^{{])(\d{{1,3}})((?:{_SPACE}{{1,2}}\d{{3}})+)(?!\d|{_SPACE}?\s?[/])")
_GROUPED_BRACED = re.compile(rf"(?<=\{{)(\d{{1,3}})((?:{_SPACE}{{1,2}}\d{{3}})+)(?=\}})")
_GROUPED_DECIMALS = re.compile(r"(?<!\d)(\d+\.\d{3})((?:\\[,;:! ]\d{3})+)(?!\d)")
_SPACES = re.compile(_SPACE)
_BRACED_COMMA = re.compile(r"(?<=\d)\{,\}(?=\d{3}(?!\d))")
_INVERSE_SPACED_COMMA = re.compile(r"(?<=\d),\\!(?=\d{3}(?!\d))")
_E_NOTATION = re.compile(r"(?<![\w.\\}])(\d+(?:\.\d*)?|\.\d+)[eE]([+-]?)(\d{1,4})(?![\w.])")
_REPEATING = re.compile(
    r"(?<![\w.])(\d*)\.(\d{0,12})(?:\\overline\s*\{(\d{1,12})\}|\\bar\s*\{(\d{1,12})\}|\\bar\s*(\d)(?!\d)"
    r"|\\dot\s*\{(\d)\}(?:(\d{0,10})\\dot\s*\{(\d)\})?|\((\d{1,12})\)(?!\d))(?!\s*[\d^_!(])"
)
_ENDLESS = re.compile(r"(?<![\w.])(\d*)\.(\d{3,24})(?:\\ldots|\\dots|\.\.\.)")
_MIXED = re.compile(r"(?<![\w.,/^_}\\])(\d{1,9})(?:\s|\\[,; ])+(\d{1,6})\s?/\s?(\d{1,6})(?![\w/.^])")
_RATIO_IN_WORDS = re.compile(r"\s*(\d+)\s*(?:\\text\s*\{\s*to\s*\}|\sto\s)\s*(\d+)\s*")
_MIXED_SPACED = re.compile(r"(?<![\w.,/^_}])(\d{1,9})(?:\s|\\[,;:! ])+(?=\\[dt]?frac)")


def _repeating_fraction(match: re.Match[str]) -> str:
    whole, fixed = match[1] or "0", match[2]
    period = match[3] or match[4] or match[5] or match[9]
    if period is None:
        period = match[6] + (match[7] or "") + (match[8] or "")
    return _fraction_of(whole, fixed, period)


def _fraction_of(whole: str, fixed: str, period: str) -> str:
    top = int(whole + fixed + period) - int(whole + fixed)
    bottom = (10 ** len(period) - 1) * 10 ** len(fixed)
    return rf"\frac{{{top}}}{{{bottom}}}"


def _endless_fraction(match: re.Match[str]) -> str:
    """``0.333...`` as a fraction where its last digits repeat at least three times; else as it stands."""
    digits = match[2]
    for length in range(1, len(digits) // 3 + 1):
        period = digits[-length:]
        repeats = 1
        while digits.endswith(period * (repeats + 1)):
            repeats += 1
        if repeats >= 3:
            return _fraction_of(match[1] or "0", digits[: len(digits) - repeats * length], period)
    return match[0]


def read_numbers(text: str) -> str:
    r"""Numbers as the grammar reads them.

    ``25\,000`` and ``25 000`` as 25000, ``2.5e6`` as a power of ten, ``0.1\overline{6}`` as a fraction, ``3 2/7`` as a
    mixed number, ``3 to 2`` as a ratio.
    """
    if not any(character.isdigit() for character in text):
        return text
    if ratio := _RATIO_IN_WORDS.fullmatch(text):
        return f"{ratio[1]}:{ratio[2]}"
    text = _BRACED_COMMA.sub(",", text)
    text = _INVERSE_SPACED_COMMA.sub(",", text)
    text = _GROUPED.sub(lambda m: m[1] + _SPACES.sub("", m[2]), text)
    text = _GROUPED_BRACED.sub(lambda m: m[1] + _SPACES.sub("", m[2]), text)
    text = _GROUPED_DECIMALS.sub(lambda m: m[1] + _SPACES.sub("", m[2]), text)
    text = _E_NOTATION.sub(lambda m: rf"{m[1]} \times 10^{{{m[2].strip('+')}{m[3]}}}", text)
    text = _REPEATING.sub(_repeating_fraction, text)
    text = _ENDLESS.sub(_endless_fraction, text)
    text = _MIXED.sub(r"\1\\frac{\2}{\3}", text)
    text = _TIMES_TEN.sub(r" \\times ", _MINUS_RAISED.sub(r"^{-\1}", text.replace("**", "^")))
    text = _without_thousands(_ORDINAL.sub("", text))
    return _MIXED_SPACED.sub(r"\1", text)


_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_LIST_BRACKET = re.compile(r"\\[{}]|[()\[\]]")


def _without_thousands(text: str) -> str:
    """Numbers like ``12,345`` without their commas, but for those in brackets, where a comma may part a list."""
    if "," not in text:
        return text
    pieces, depth, start = [], 0, 0
    for bracket in _LIST_BRACKET.finditer(text):
        piece = text[start : bracket.start()]
        pieces.append(piece if depth else _THOUSANDS.sub(lambda number: number[0].replace(",", ""), piece))
        pieces.append(bracket[0])
        depth = max(0, depth + (1 if bracket[0] in ("(", "[", r"\{") else -1))
        start = bracket.end()
    rest = text[start:]
    return "".join([*pieces, rest if depth else _THOUSANDS.sub(lambda number: number[0].replace(",", ""), rest)])


_DOUBLED_COMMAND = re.compile(r"\\\\(?=(?:boxed|fbox|frac|dfrac|tfrac|sqrt|text|pi|times|cdot)(?![a-zA-Z]))")
_PLAIN_IN_TEXT = re.compile(
    r"\\(?:mathrm|rm|mathit|mathsf|mathbf|text|textbf|textit|textrm)\s*\{\s*([ei]|[-+]?\d[\d.,/]*(?:st|nd|rd|th)?)\s*\}"
)
_SIZED = re.compile(r"\\(?:[bB]igg?[lrm]?|left|right|middle)(?![A-Za-z])\s*\.?")
_TWO_ARGUMENTS = re.compile(r"\\(?:[dtc]?frac|[dt]?binom)(?![A-Za-z])")
_ARGUMENT = re.compile(r"\s*(\\[A-Za-z]+|[0-9A-Za-z])")
_MAX_TWO_ARGUMENTS = 100
_ORDINAL = re.compile(
    r"(?<=[\dn}])\s?(?:\^\s*\{?\s*)?\\(?:text|mathrm)\s*\{\s*(?:st|nd|rd|th)\s*\}{1,2}"
    r"|(?<=\d)(?:st|nd|rd|th)(?![A-Za-z])"
)
_PERCENT_IN_TEXT = re.compile(r"\s*\\(?:text|mathrm)\s*\{\s*(?:percent|per cent|pct)\s*\}")
_TIMES_TEN = re.compile(r"(?<=\d)\s?[xX]\s?(?=10\s?\^)")
_MINUS_RAISED = re.compile(r"\^\s?-\s?(\d+|[A-Za-z])")
_BRACES = re.compile(r"\\[{}]|[{}]")
_ROOT_ROUND = re.compile(r"\\sqrt\s*\(([^()]*)\)")
_SYNONYMS = (
    (re.compile(r"\\varnothing(?![A-Za-z])"), r"\\emptyset"),
    (re.compile(r"\\var(?=(?:epsilon|phi|theta|rho|sigma|kappa)(?![A-Za-z]))"), r"\\"),
    # The grammar reads the function \Gamma for \gamma too, the constant \gamma for \Gamma, and neither with an index.
    (re.compile(r"\\([Gg])amma\s*_\s*\{?\s*([A-Za-z0-9])\s*\}?"), r"\1_{amma\2}"),
    (re.compile(r"\\Gamma(?![A-Za-z]|\s*\()"), "G_{amma}"),
    (re.compile(r"\\gamma(?=\s*\()"), "g_{amma}"),
    (re.compile(r"\\(?:lvert|rvert|vert)(?![A-Za-z])"), "|"),
    (re.compile(r"\\langle(?![A-Za-z])([^,|]*,[^|]*?)\\rangle(?![A-Za-z])"), r"(\1)"),
    (re.compile(r"\\(?:displaystyle|textstyle|limits|nolimits)(?![A-Za-z])"), " "),
    (re.compile(r"\\(?:leqslant|leqq)(?![A-Za-z])"), r"\\le "),
    (re.compile(r"\\(?:geqslant|geqq)(?![A-Za-z])"), r"\\ge "),
    (re.compile(r"\\(?:quad|qquad|enspace)(?![A-Za-z])"), " "),
    (re.compile(r"\\not\s?="), r"\\ne "),
    (re.compile(r"\\lg(?![A-Za-z])"), r"\\log_{10}"),
    (re.compile(r"\\(?:Longrightarrow|Rightarrow|rightarrow|implies)(?![A-Za-z])"), r"\\to "),
)


def _with_whole_arguments(text: str) -> str:
    r"""Braces around the arguments of ``\frac3\pi``, ``\frac{a}b``, ``\binom52``."""
    commands = list(_TWO_ARGUMENTS.finditer(text))
    if len(commands) > _MAX_TWO_ARGUMENTS:
        return text
    for command in reversed(commands):  # those within others come later
        place = command.end()
        arguments = []
        for _ in range(2):
            argument = _argument(text, place)
            if argument is None:
                break
            content, place = argument
            arguments.append(f"{{{content}}}")
        else:
            text = text[: command.end()] + "".join(arguments) + text[place:]
    return text


def _argument(text: str, place: int) -> tuple[str, int] | None:
    """The content of the argument that begins at a place, and where it ends."""
    start = place + len(text[place:]) - len(text[place:].lstrip())
    if text[start : start + 1] != "{":
        short = _ARGUMENT.match(text, place)
        return None if short is None else (short[1], short.end())
    depth = 0
    for brace in _BRACES.finditer(text, start):
        depth += 1 if brace[0] == "{" else -1 if brace[0] == "}" else 0
        if depth == 0:
            return text[start + 1 : brace.start()], brace.end()
    return None


def latex_spelling(text: str) -> str:
    r"""Commands in the one spelling that the grammar reads: ``\frac3\pi``, ``\sqrt(2)``, ``\varnothing``."""
    if "\\" not in text:
        return text
    text = _DOUBLED_COMMAND.sub(r"\\", text)
    text = _PERCENT_IN_TEXT.sub(r"\\%", text)
    text = _PLAIN_IN_TEXT.sub(r" \1 ", text)
    text = _SIZED.sub("", text)
    text = _with_whole_arguments(text)
    text = _ROOT_ROUND.sub(r"\\sqrt{\1}", text)
    for pattern, synonym in _SYNONYMS:
        text = pattern.sub(synonym, text)
    return text


_PRIMES = re.compile(r"(?<![A-Za-z\\'])([A-Za-z])(?:('{1,3})|\s?\^\s?\{?\s?((?:\\prime\s?){1,3})\}?)(?![A-Za-z'])")


def _with_primes(text: str) -> str:
    """``f'`` as a symbol of its own, where the grammar would drop the sign."""
    return _PRIMES.sub(lambda m: f"{m[1]}_{{{'prime' * (len(m[2]) if m[2] else m[3].count(chr(92)))}}}", text)


_DOLLARS = re.compile(r"(?<!\\)\$")
_WHOLE_MATH = re.compile(r"\\\((.*)\\\)|\\\[(.*)\\\]", re.DOTALL)
_PARENTHESES = re.compile(r"\\[()\[\]]")


def without_delimiters(text: str) -> str:
    r"""An answer without the dollars, ``\(`` and ``\[`` around it or its parts; an unpaired dollar is money."""
    stripped = " ".join(text.split("\n")).strip()
    if whole := _WHOLE_MATH.fullmatch(stripped):
        stripped = (whole[1] or whole[2] or "").strip()
    if _DOLLARS.search(stripped):
        num_dollars = len(_DOLLARS.findall(stripped))
        if num_dollars % 2 == 0:
            stripped = _DOLLARS.sub(" ", stripped).strip() if num_dollars > 2 else _DOLLARS.sub("", stripped).strip()
    return _PARENTHESES.sub(" ", stripped).strip() if "\\(" in stripped else stripped


def formula(text: str) -> str:
    """A formula in the spelling that the grammar reads."""
    return _with_primes(read_numbers(latex_spelling(latex_of_unicode(text))))
