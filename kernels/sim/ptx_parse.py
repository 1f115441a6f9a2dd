"""PTX text -> functions, variables and statements; nothing here knows what an instruction does.

Grammar: https://docs.nvidia.com/cuda/parallel-thread-execution (chapters 4, 5, 10 and 11), as far as NVRTC and
NVVM write it and as inline assembly commonly is.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Variable:
    """`.shared .align 4 .b8 name[264]`, or a parameter, or a register; `size` counts elements, None for a scalar."""

    space: str
    type: str
    name: str
    align: int = 0
    size: int | None = None
    values: list[str] = field(default_factory=list)
    line: int = 0


@dataclass
class Instruction:
    """`@!%p1 setp.lt.and.s32 %p2|%p3, %r1, %r2, %p4`; `line` counts the lines of the PTX."""

    opcode: str
    modifiers: tuple[str, ...]
    operands: list[str]
    line: int
    text: str
    predicate: str = ""  # a register's name, with ! in front where it is negated


@dataclass
class Label:
    name: str


@dataclass
class Location:
    file: str
    line: int


@dataclass
class Scope:
    """The braces of inline assembly and of calls: its registers and labels are its own."""

    opens: bool


@dataclass
class Targets:
    """`name: .branchtargets a, b, c`, what brx.idx chooses from."""

    name: str
    labels: list[str]


Statement = Instruction | Label | Location | Scope | Targets | Variable


@dataclass
class Function:
    name: str
    entry: bool
    results: list[Variable]
    parameters: list[Variable]
    body: list[Statement] | None  # None: declared only
    line: int


@dataclass
class Module:
    functions: list[Function]
    variables: list[Variable]


_LINKAGE = (".visible", ".extern", ".weak", ".common")
_SPACES = (".reg", ".shared", ".local", ".param", ".const", ".global")
_LINE_WISE = re.compile(r"\.(version|target|address_size|file|loc)\s")
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_NO_EFFECT = (".pragma", ".maxn", ".minn", ".reqn", ".noreturn")
_LABEL = re.compile(r"([\w$]+)\s*:\s*(?![:\s]|\.branchtargets|\.callprototype)")
_TARGETS = re.compile(r"([\w$]+)\s*:\s*\.branchtargets\s+(.*)", re.DOTALL)
_PROTOTYPE = re.compile(r"[\w$]+\s*:\s*\.callprototype\s")  # of an indirect call, which is refused where it stands
_FILE = re.compile(r'^\s*\.file\s+(\d+)\s+"([^"]*)"', re.MULTILINE)
_LOC = re.compile(r"\.loc\s+(\d+)\s+(\d+)")
_HEADER = re.compile(r"\.(entry|func)\s*(?:\(([^)]*)\))?\s*([\w$]+)\s*(?:\(([^)]*)\))?")
_ATTRIBUTE = re.compile(r"(\.\w+)(?:\s+(\d+)(?=\s))?\s*")
_REGISTERS = re.compile(r"(%[\w$]+)<(\d+)>")
_DECLARED = re.compile(r"(%?[\w$]+)\s*(\[\s*(\d*)\s*\])?\s*(?:=\s*(.*))?$", re.DOTALL)


class PtxError(NotImplementedError):
    """PTX that is not translated; the message names the line and the text."""

    def __init__(self, line: int, text: str, why: str = "is not translated") -> None:
        super().__init__(f"PTX line {line}: {' '.join(text.split())!r} {why}")


def parse(text: str) -> Module:
    """Raises PtxError for what is not understood."""
    text = _COMMENT.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    files = {number: name.rpartition("/")[2] for number, name in _FILE.findall(text)}
    return _Parser(text, files).module()


class _Parser:
    def __init__(self, text: str, files: dict[str, str]) -> None:
        self.text, self.files, self.at = text, files, 0
        self._counted, self._lines = 0, 1

    def module(self) -> Module:
        functions: list[Function] = []
        variables: list[Variable] = []
        for line, text, end in self._statements():
            header = _HEADER.search(text)
            if header and not text.startswith(_SPACES):
                kind, results, name, parameters = header.groups()
                function = Function(
                    name,
                    kind == "entry",
                    self._parameters(results, line),
                    self._parameters(parameters, line),
                    None,
                    line,
                )
                functions.append(function)
                if end == "{":
                    function.body = list(self._body())
            elif end == "{":
                raise PtxError(line, text)
            elif text:
                variables += variables_of(text, line)
        return Module(functions, variables)

    def _body(self) -> Iterator[Statement]:
        depth = 1
        for line, text, end in self._statements():
            if end == ":":
                yield Label(text)
                continue
            if listed := _TARGETS.match(text):
                yield Targets(listed[1], [target.strip() for target in listed[2].split(",")])
                continue
            if end == "\n":
                location = _LOC.match(text)
                assert location, text
                yield Location(self.files.get(location[1], "unknown"), int(location[2]))
            elif text.startswith(_SPACES):
                yield from variables_of(text, line)
            elif text and not text.startswith(_NO_EFFECT) and not _PROTOTYPE.match(text):
                yield instruction(text, line)
            if end == "{":
                depth += 1
                yield Scope(True)
            elif end == "}":
                depth -= 1
                if not depth:
                    return
                yield Scope(False)

    def _statements(self) -> Iterator[tuple[int, str, str]]:
        """(line, text, what ended it: one of ; { } : or, of a .loc, the end of its line)."""
        while self.at < len(self.text):
            start = self.at = self._skip_space(self.at)
            if start == len(self.text):
                return
            line = self._line(start)
            if directive := _LINE_WISE.match(self.text, start):
                self.at = self._find("\n", start)
                if directive[1] == "loc":
                    yield line, self.text[start : self.at], "\n"
            elif label := _LABEL.match(self.text, start):
                self.at = label.end()
                yield line, label[1], ":"
            elif self.text.startswith(".section", start):
                self.at = self._find("}", start) + 1
            else:
                end = self._end(start)
                self.at = end + 1
                yield line, self.text[start:end].strip(), self.text[end : end + 1]

    def _end(self, start: int) -> int:
        """Where the statement ends; a brace inside an instruction or an initialiser is a vector."""
        opening = re.compile(r"[;{}]").search(self.text, start)
        if opening is None:
            raise PtxError(self._line(start), self.text[start : start + 60], "does not end")
        at = opening.start()
        if self.text[at] != "{" or at == start:
            return at
        before = self.text[start:at]
        return at if _HEADER.search(before) and not before.startswith(_SPACES) else self._find(";", at)

    def _find(self, what: str, start: int) -> int:
        at = self.text.find(what, start)
        return len(self.text) if at < 0 else at

    def _skip_space(self, at: int) -> int:
        while at < len(self.text) and self.text[at].isspace():
            at += 1
        return at

    def _line(self, at: int) -> int:
        self._lines += self.text.count("\n", self._counted, at)
        self._counted = at
        return self._lines

    def _parameters(self, text: str | None, line: int) -> list[Variable]:
        return [v for part in (text or "").split(",") if part.strip() for v in variables_of(part.strip(), line)]


def variables_of(text: str, line: int) -> list[Variable]:
    """The variables that one declaration declares; `%r<3>` declares %r0 to %r2."""
    words = text
    space, kind, align = "", "", 0
    while match := _ATTRIBUTE.match(words):
        word, number = match.groups()
        words = words[match.end() :]
        if word in _SPACES:
            space = space or word[1:]  # behind .ptr stands the space that it points into
        elif word == ".align":
            align = align or int(number)
        elif re.fullmatch(r"\.([usbf]\d+|pred)", word):
            kind = word[1:]
        elif word not in (*_LINKAGE, ".ptr"):
            raise PtxError(line, text)
    if not space or not kind:
        raise PtxError(line, text)
    found = []
    for name in [words] if "=" in words or "[" in words else words.split(","):
        name = name.strip()
        if many := _REGISTERS.fullmatch(name):
            found += [Variable(space, kind, f"{many[1]}{i}", line=line) for i in range(int(many[2]))]
        elif one := _DECLARED.fullmatch(name):
            size = None if one[2] is None else int(one[3] or 0)
            values = [v.strip() for v in (one[4] or "").strip(" {}").split(",") if v.strip()]
            found.append(Variable(space, kind, one[1], align, size, values, line))
        else:
            raise PtxError(line, text)
    return found


def instruction(text: str, line: int) -> Instruction:
    guarded = re.match(r"@(!?)\s*(%[\w$]+)\s+", text)
    rest = text[guarded.end() :] if guarded else text
    name, *tail = re.split(r"\s+", rest, maxsplit=1)
    opcode, *modifiers = name.replace("::", "_").split(".")
    operands = split_operands(tail[0]) if tail else []
    return Instruction(opcode, tuple(modifiers), operands, line, text, guarded[1] + guarded[2] if guarded else "")


def split_operands(text: str) -> list[str]:
    """Split at the commas outside of {}, [] and ()."""
    parts, depth, start = [], 0, 0
    for at, char in enumerate(text):
        depth += (char in "{[(") - (char in "}])")
        if char == "," and not depth:
            parts.append(text[start:at].strip())
            start = at + 1
    return [*parts, text[start:].strip()]
