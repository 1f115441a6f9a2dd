"""Kernels with one mistake each: a barrier gone, a bound loosened, two indices swapped, ... (see RULES).

Works on the text of CUDA C and of Numba alike, inside the bodies of kernels and of what they call, outside comments.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PAIRS = ("oy ox", "iy ix", "ky kx", "jy jx", "ty tx", "sh sw", "ph pw", "kh kw", "oh ow", "ny nx", "qh qw", "ry rx",
         "h w_", "ci co", "rows columns", "top left", "row column", "row lane", "kx0 ky0", "kx1 ky1", "oy0 ox0",
         "oy1 ox1", "iy0 ix0")  # fmt: skip
PARTNER = {a: b for pair in PAIRS for a, b in (pair.split(), pair.split()[::-1])}
LOOSER = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}

# kind, pattern, replacement: of CUDA C, of Numba
RULES: dict[str, list[tuple[str, str, str]]] = {
    ".cu": [
        ("barrier", r"__sync(threads|warp)\([^)]*\);", ";"),
        ("double", r"(\d\.\d*)f\b", r"\1"),
        ("shared size", r"(?<=__shared__)([^;\[\]]*\w\[)([^\]]+)\]", r"\1\2 - 1]"),
        ("shared size", r"(?<=__shared__)([^;\[\]]*\w\[[^\]]+\]\[)([^\]]+)\]", r"\1\2 - 1]"),
        ("off by one", r"(?<== )0;", "1;"),
        ("cp.async", r"\bcp_async_wait_group<([^>]+)>", r"cp_async_wait_group<\1 + 1>"),
    ],
    ".py": [
        ("barrier", r"\bcuda\.sync(threads|warp)\([^)]*\)", "pass"),
        ("double", r"\bfloat32\((\d+(\.\d*)?)\)", r"float(\1)"),
        ("shared size", r"(?<=shared\.array\()\(?([^,()]+),", r"\g<0>".replace(",", "") + " - 1,"),
        ("shared size", r"(?<=shared\.array\(\()([^,()]+), ([^,()]+)\)", r"\1, \2 - 1)"),
        ("off by one", r"\brange\(([^,()]+)\)", r"range(1, \1)"),
        ("off by one", r"\brange\(([^,()]+),", r"range(\1 + 1,"),
    ],
    "both": [
        ("bound", r"(?<= )(<=?|>=?)(?= )", "looser"),
        ("swap", r"\b(" + "|".join(PARTNER) + r")\b", "partner"),
        ("sign", r"(?<= )\+(?= )", "-"),
        ("sign", r"(?<= )-(?= )", "+"),
        ("off by one", r" [+-] 1\b", ""),
    ],
}
ONE_A_LINE = {"swap", "sign"}  # there are many, and a line that is right in one place is seldom wrong in the next
CONDITION = r"(?<= )(<=?|>=?|==|!=)(?= )"


@dataclass(frozen=True)
class Mutant:
    """`file` with the characters start .. end replaced by `new`; `function` is the one around them."""

    file: str
    function: str
    kind: str
    line: int
    start: int
    end: int
    new: str

    def apply(self, text: str) -> str:
        return text[: self.start] + self.new + text[self.end :]

    def show(self, text: str) -> tuple[str, str]:
        """The line before and after, without its comment."""
        comment = r"\s+#.*" if self.file.endswith(".py") else r"\s+//.*"
        before, after = (whole.splitlines()[self.line - 1] for whole in (text, self.apply(text)))
        return re.sub(comment, "", before).strip(), re.sub(comment, "", after).strip()


def mutants(file: Path) -> Iterator[Mutant]:
    """Every mutant of a .cu, .cuh or .py file."""
    text = file.read_text()
    python = file.suffix == ".py"
    code = _without_comments(text) if python else _without_c_comments(text)
    if file.stem.endswith("_raw"):  # of a launcher, the size of the shared memory alone
        for match in re.finditer(r"(?<=, )shared_mem=shared\b", code):
            at = match.end()
            (*_, function) = re.findall(r"def (\w+)", code[:at])
            yield Mutant(file.name, function, "shared size", text.count("\n", 0, at) + 1, at, at, " - 4")
        return
    seen = set()
    for function, begin, end in _python_functions(text) if python else _c_functions(code):
        for kind, first, last, new in _changes(code, begin, end, python):
            line = text.count("\n", 0, first) + 1
            what = (line, kind) if kind in ONE_A_LINE else (first, last, new)
            if new != text[first:last] and what not in seen:
                seen.add(what)
                yield Mutant(file.name, function, kind, line, first, last, new)


def _changes(code: str, begin: int, end: int, python: bool) -> Iterator[tuple[str, int, int, str]]:
    for kind, pattern, replacement in RULES[".py" if python else ".cu"] + RULES["both"]:
        for match in re.compile(pattern).finditer(code, begin, end):
            if kind in ("swap", "off by one", "sign") and _is_declared(code, match, python):
                continue
            if replacement in ("looser", "partner"):
                new = (LOOSER if replacement == "looser" else PARTNER)[match[1]]
            else:
                new = match.expand(replacement)
            yield kind, match.start(), match.end(), new
    for match in re.compile(CONDITION).finditer(code, begin, end):
        if not _in_loop_header(code, match.start(), python):
            first, last, value = _condition(code, match.start(), match.end(), python)
            yield "condition dropped", first, last, value


def _is_declared(code: str, match: re.Match, python: bool) -> bool:
    """Whether a name is given its value here: `const int oy = ...` or the variable of a loop."""
    if _in_loop_header(code, match.start(), python) and match[0] in PARTNER:
        after = code[match.end() : match.end() + 4]
        return bool(re.match(r" =[^=]| in |;|\)", after)) or code[: match.start()].endswith("++")
    return match[0] in PARTNER and bool(re.match(r"(\[\w+\])?(, \w+)* =[^=]", code[match.end() : match.end() + 30]))


def _in_loop_header(code: str, at: int, python: bool) -> bool:
    line = code[code.rfind("\n", 0, at) + 1 : at]
    if python:
        return bool(re.match(r"\s*(for|while)\b", line))
    header = max(line.rfind("for ("), line.rfind("while ("))
    return header >= 0 and line[header:].count("(") > line[header:].count(")")


def _condition(code: str, start: int, end: int, python: bool) -> tuple[int, int, str]:
    """The comparison around an operator, and the value that makes it hold nothing back."""
    stops = (
        r" and | or |\bif | else |\bnot |\breturn |[^=!<>]=[^=]|[,:;?{\n]"
        if python
        else r"&&|\|\||\breturn |[^=!<>]=[^=]|[,:;?{\n!]"
    )
    depth, first = 0, start
    while first > 0:
        before = code[first - 1]
        depth += (before in ")]") - (before in "([")
        if depth < 0 or (depth == 0 and re.search(f"(?:{stops})$", code[max(0, first - 8) : first])):
            break
        first -= 1
    last, depth = end, 0
    while last < len(code):
        depth += (code[last] in "([") - (code[last] in ")]")
        if depth < 0 or (depth == 0 and re.match(r" and | or | else | if |&&|\|\||[,:;?\n]", code[last:])):
            break
        last += 1
    while code[first] == " ":
        first += 1
    while code[last - 1] == " ":
        last -= 1
    beside = code[max(0, first - 4) : first] + code[last : last + 4]
    leaves = re.match(r"\)*:?\s*(continue|return|break)\b", code[last : last + 80])
    keeps = not ("||" in beside or " or " in beside or (leaves and "&&" not in beside and " and " not in beside))
    return first, last, str(keeps) if python else str(keeps).lower()


def _blank(text: str, spans: list[tuple[int, int]]) -> str:
    for start, end in spans:
        text = text[:start] + re.sub(r"[^\n]", " ", text[start:end]) + text[end:]
    return text


def _without_c_comments(text: str) -> str:
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|"[^"\n]*"|^#[^\n]*', re.DOTALL | re.MULTILINE)
    return _blank(text, [match.span() for match in pattern.finditer(text)])


def _without_comments(text: str) -> str:
    offsets = [0]
    for line in text.splitlines(keepends=True):
        offsets.append(offsets[-1] + len(line))
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return _blank(
        text,
        [
            (offsets[t.start[0] - 1] + t.start[1], offsets[t.end[0] - 1] + t.end[1])
            for t in tokens
            if t.type in (tokenize.COMMENT, tokenize.STRING)
        ],
    )


def _c_functions(code: str) -> Iterator[tuple[str, int, int]]:
    """(name, begin, end) of the body of every kernel and device function."""
    head = re.compile(r"__(?:global|device)__[^;{}]*?(\w+)\s*\([^{};]*\)\s*\{")
    plain = re.sub(r"__launch_bounds__\s*\([^)]*\)|\[[^\]]*\]|\(&\w+\)", lambda match: " " * len(match[0]), code)
    for match in head.finditer(plain):
        depth, at = 1, match.end()
        while depth:
            depth += (code[at] == "{") - (code[at] == "}")
            at += 1
        yield match[1], match.end(), at


def _python_functions(text: str) -> Iterator[tuple[str, int, int]]:
    """(name, begin, end) of the body of every function that is decorated as a kernel or a device function."""
    lines = text.splitlines(keepends=True)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and re.search(
            "numba_kernel|cuda.jit", " ".join(map(ast.unparse, node.decorator_list))
        ):
            begin, end = (sum(map(len, lines[:n])) for n in (node.body[0].lineno - 1, node.end_lineno))
            yield node.name, begin, end
