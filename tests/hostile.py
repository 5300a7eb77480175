r"""Answers made to hang, crash, fill the memory, or run something. None of them may cost another answer its verdict."""

FORBIDDEN_FILE = "hostile_was_here"


def _nested(opening: str, inner: str, closing: str, depth: int) -> str:
    return opening * depth + inner + closing * depth


def _box(content: str) -> str:
    return f"\\boxed{{{content}}}"


def hostile_answers() -> list[str]:
    """At least sixty responses, each to be judged against any gold answer."""
    towers = [
        "9^{9^{9}}",
        "9^{9^{9^{9^{9}}}}",
        r"\dfrac{5^{\left(5^{\left(5^{\left(5^5\right)}\right)} - 4\right)} - 5}{16}",
        "2^{2^{2^{2^{2^{2}}}}} - 1",
        "(10^{10^{10}}) mod 7",
        r"10^{10^{10^{10}}} + \frac{1}{10^{10^{10^{10}}}}",
        r"\sqrt{2}^{\sqrt{2}^{\sqrt{2}^{9^{9^9}}}}",
        "7^{-9^{9^{9}}}",
        r"\left(1 + \frac{1}{9^{9^{9}}}\right)^{9^{9^{9}}}",
        "9**9**9**9",
        "99999999^99999999^99999999",
        "-9^{9^{9}}",
        r"\log(9^{9^{9}})",
        r"\sin(9^{9^{9}})",
        r"e^{e^{e^{e^{e^{e}}}}}",
    ]
    factorials = [
        "1000000!",
        "123456789!",
        "100000000000000000000!",
        "((((9!)!)!)!)!",
        r"\frac{100000000!}{99999999!}",
        r"\binom{1000000000}{500000000}",
        r"\binom{10^{12}}{10^{6}}",
        r"\prod_{n=1}^{1000000} n^n",
        r"\sum_{n=1}^{100000000} \frac{1}{n^2}",
        r"\sum_{n=1}^{1000000} \sum_{m=1}^{1000000} \frac{1}{n^m + m^n}",
        r"\int_0^1 \int_0^1 \int_0^1 x^{y^{z^{x^{y}}}} dx dy dz",
        r"\int_{-\infty}^{\infty} e^{-x^{4} \sin(x^{x})} dx",
        r"\lim_{x \to 0} \frac{\sin(\tan(\arcsin(\arctan(x^{99}))))}{x^{999}}",
    ]
    nested = [
        _nested("(", "1", ")", 5_000),
        _nested("{", "1", "}", 5_000),
        _nested(r"\sqrt{", "2", "}", 400),
        _nested(r"\frac{1}{1+", "1", "}", 300),
        _nested(r"\left(", "x", r"\right)", 1_000),
        _nested("-", "1", "", 20_000),
        _nested("x^{", "x", "}", 300),
        _nested(r"\{", "1", r"\}", 500),
        _nested("|", "x", "|", 999),
        _nested(r"\sin(", "1", ")", 300),
    ]
    huge = [
        "1" * 1_000_000,
        "1+" * 300_000 + "1",
        "x" * 1_000_000,
        " " * 1_000_000,
        "$" * 200_000,
        "\\boxed{" * 100_000,
        "\\(" * 200_000,
        "answer is " * 100_000,
        "The final answer is " + "$1$ and " * 50_000,
        "9" * 5_000 + "^" + "9" * 5_000,
        "0." + "3" * 200_000,
        r"\frac{1}{2}" * 50_000,
        ", ".join(str(n) for n in range(5_000)),
    ]
    sets = [
        r"\{" + ", ".join(str(n) for n in range(4_000)) + r"\}",
        "(" + ", ".join(f"x_{{{n}}}" for n in range(2_000)) + ")",
        r"\{" + ", ".join(rf"\sqrt{{{n}}} + \sqrt{{{n + 1}}}" for n in range(1_000)) + r"\}",
        r"\begin{pmatrix}" + r" \\ ".join(" & ".join(["1"] * 60) for _ in range(60)) + r"\end{pmatrix}",
        " + ".join(f"x^{{{n}}}" for n in range(1_500)),
        r"(x+1)^{100000} - (x-1)^{100000}",
        r"(a+b+c+d+e+f+g)^{60}",
    ]
    strange = [
        "\x00",
        "5\x00",
        "\x00" * 10_000,
        "\ud800",
        "٣٤٥",
        "１２３",
        "²³",
        "½",
        "\u202e5",
        "5\u0301" * 1_000,
        "}{" * 1_000,
        "{{{{{",
        "}}}}}",
        r"\frac{}{}",
        r"\frac{1}",
        r"\frac{1}{0}",
        r"0^{0}",
        r"\infty - \infty",
        "nan",
        "\\",
        "$",
        "%" * 1_000,
        r"\left\left\left(",
        r"\begin{matrix}" * 100,
        r"\newcommand{\x}{\x\x}\x",
        r"\def\a{\a\a}\a",
    ]
    boxes = [
        r"\boxed{}",
        r"\boxed{\boxed{\boxed{}}}",
        _nested(r"\boxed{", "1", "}", 2_000),
        r"\boxed{" * 50,
        r"\boxed{\fbox{\boxed{1}",
        r"\boxed{1}" * 20_000,
        r"\fbox{9^{9^{9}}}",
    ]
    touch = f"touch {FORBIDDEN_FILE}"
    code = [
        rf'\boxed{{__import__("os").system("{touch}")}}',
        f'__import__("os").system("{touch}")',
        rf"\boxed{{eval(\"open('{FORBIDDEN_FILE}','w')\")}}",
        rf"\input{{|{touch}}}",
        rf"\immediate\write18{{{touch}}}",
        f"$(({touch}))",
        f"`{touch}`",
        "().__class__.__base__.__subclasses__()",
        "exit()",
        "lambda: 0",
    ]
    boxed = [_box(answer) for answer in towers + factorials + nested + sets]
    return boxed + [f"The answer is ${answer}$." for answer in towers] + huge + strange + boxes + code
