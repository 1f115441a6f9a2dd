"""Functions of PTX -> C++: registers become variables, branches gotos, predicates ifs, `.loc` a `#line`.

Names: `%r1` becomes `$r1`, a variable or function `name` becomes `V_name`; an entry keeps its name. A shared address
is an offset from the first shared variable, a generic one the true address; `.param` memory of a call is an array of
bytes that is passed by value.
"""

import re

from .ptx_operations import OPERATIONS, cpp_type, result_is_ignored
from .ptx_parse import Function, Instruction, Label, Location, Module, PtxError, Scope, Targets, Variable

_LITERAL = re.compile(r"(-?)\s*(0[xX][0-9a-fA-F]+|0[bB][01]+|0[fF][0-9a-fA-F]{8}|0[dD][0-9a-fA-F]{16}|\d+)U?$")
_ADDRESS = re.compile(r"(%?[\w$]+)\s*(?:\+\s*(-?\s*\w+))?$")
_INDICES = {"tid": "threadIdx", "ctaid": "blockIdx", "ntid": "blockDim", "nctaid": "gridDim"}
_SPECIAL = {f"%{ptx}.{axis}": f"{cuda}.{axis}" for ptx, cuda in _INDICES.items() for axis in "xyz"}
_SPECIAL |= {"WARP_SZ": "32u", "%laneid": "ptx::lane()", "%warpid": "ptx::warp()", "%nwarpid": "32u"}
_SPECIAL |= {f"%lanemask_{name}": f"ptx::lanemask_{name}()" for name in ("eq", "lt", "le", "gt", "ge")}
_DYNAMIC_SIZE = Variable("param", "u32", "dynamic_smem_size")  # PTX has a register for it, here it is a last parameter
_SIZES = {"8": 1, "16": 2, "32": 4, "64": 8}


def size_of(ptx_type: str) -> int:
    """Bytes of `u32`, `f64`, ..."""
    return _SIZES[ptx_type.lstrip("usbf")]


def translate(module: Module, name: str, pointers: frozenset[int]) -> tuple[str, list[int]]:
    """The entry `name` in C++ with all that it uses, and the numbers of the parameters that it reads.

    The C++ function has those alone. Behind the entry's own counts the size of the dynamic shared memory, a u32.
    pointers: the parameters that are arrays rather than 64-bit numbers.
    """
    names = _Names(module)
    entry = _Body(next(f for f in module.functions if f.entry and f.name == name), names, pointers)
    bodies = {name: entry.text()}
    while missing := [function for function in names.called if function not in bodies]:
        bodies |= {function: _Body(names.functions[function], names).text() for function in missing}
    heads = [_Body(names.functions[function], names).head() + ";" for function in names.called]
    text = ['#include "ptx.h"', "using namespace ptx::types;", *names.declarations(), *heads, *bodies.values()]
    return "\n".join(text) + "\n", entry.read


class _Names:
    """What is the module's: its functions, and its variables, of which those in use are declared."""

    def __init__(self, module: Module) -> None:
        self.functions = {function.name: function for function in module.functions if function.body}
        self.variables = {variable.name: variable for variable in module.variables}
        self.used: dict[str, Variable] = {}
        self.called: dict[str, None] = {}

    def use(self, variable: Variable) -> str:
        if self.used.setdefault(variable.name, variable) is not variable:
            raise PtxError(variable.line, variable.name, "is the name of two variables")
        return f"V_{variable.name}"

    def call(self, function: str) -> str:
        self.functions[function]  # a KeyError where it is only declared
        self.called[function] = None
        return f"V_{function}"

    def declarations(self) -> list[str]:
        """The variables; all shared addresses count from the first shared one."""
        shared = [v for v in self.used.values() if v.space == "shared"]
        origin = f"(void*)&V_{shared[0].name}" if shared else "nullptr"
        return [*map(declaration, self.used.values()), f"#define PTX_SHARED ptx::opaque({origin})"]


def declaration(variable: Variable) -> str:
    """A variable of the module, or of a function's local memory, which starts as NaN."""
    count = "" if variable.size is None else f"[{variable.size or ''}]"
    align = max(variable.align, size_of(variable.type))
    name = f"__attribute__((aligned({align}))) {cpp_type(variable.type)} V_{variable.name}{count}"
    if variable.space == "shared":
        return f"{'extern ' if variable.size == 0 else ''}__shared__ {name};"
    if variable.space == "local":
        return f"{name}; __builtin_memset(&V_{variable.name}, 0xFF, sizeof V_{variable.name});"
    values = [literal(value, variable.type, variable.line) for value in variable.values]
    return f"static {name} = {{{', '.join(values)}}};"


def literal(text: str, ptx_type: str, line: int) -> str:
    """A constant as the C++ value of its type. 0f3F800000 is 1.0 by its bits."""
    match = _LITERAL.match(text.strip())
    if not match:
        raise PtxError(line, text, "is no constant that is translated")
    sign, digits = match.groups()
    if digits[:2] in ("0f", "0F"):
        return f"ptx::as<f32>({sign}0x{digits[2:]}u)"
    if digits[:2] in ("0d", "0D"):
        return f"ptx::as<f64>(0x{digits[2:]}ull)"
    value = int(sign + digits, 8 if re.match(r"0\d", digits) else 0)
    if ptx_type == "pred":
        return "true" if value else "false"
    if ptx_type in ("f32", "f64"):
        return f"ptx::as<{ptx_type}>(u{ptx_type[1:]}({value}))"
    mask = (1 << 8 * size_of(ptx_type)) - 1
    return f"{cpp_type(ptx_type)}({value & mask}ull)"


class _Body:
    """A function. Scopes of inline assembly nest: a name is sought innermost first, a label gets its scope's number."""

    def __init__(self, function: Function, names: _Names, pointers: frozenset[int] = frozenset()) -> None:
        self.function, self.names, self.pointers = function, names, pointers
        self.parameters = [*function.parameters, *([_DYNAMIC_SIZE] if function.entry else [])]
        self.scopes: list[dict[str, Variable]] = [{v.name: v for v in (*self.parameters, *function.results)}]
        self.labels: list[dict[str, str]] = []
        self.targets = {s.name: s.labels for s in function.body or () if isinstance(s, Targets)}
        self.read: list[int] = []
        self.locals: set[str] = set()  # variables that operations ask for
        self.line = 0

    def head(self) -> str:
        if self.function.entry:
            types = [self._entry_type(number) for number in self.read]
            parameters = [f"{t} V_{self.parameters[n].name}" for n, t in zip(self.read, types, strict=True)]
            return f'extern "C" __global__ void {self.function.name}({", ".join(parameters)})'
        parameters = [f"{_bytes(v)} V_{v.name}" for v in self.function.parameters]
        result = _bytes(self.function.results[0]) if self.function.results else "void"
        return f"static {result} V_{self.function.name}({', '.join(parameters)})"

    def _entry_type(self, number: int) -> str:
        parameter = self.parameters[number]
        if parameter.size is not None:
            raise PtxError(parameter.line, parameter.name, "is passed by value: a kernel takes numbers and pointers")
        return "void*" if number in self.pointers else cpp_type(parameter.type)

    def text(self) -> str:
        """The whole function, one source line of the kernel on one line of C++."""
        lines = ["char* const shared = PTX_SHARED;"]
        lines += [f"{_bytes(v)} V_{v.name};" for v in self.function.results]
        place = before = None
        self._enter(0)
        for index, statement in enumerate(self.function.body or ()):
            if isinstance(statement, Location):
                place = statement if statement.line else place  # line 0: code that belongs to no line
                continue
            self.line = getattr(statement, "line", self.line)
            at = place or Location("kernel.ptx", self.line)
            if at != before:
                lines += [f'#line {at.line} "{at.file}"', ""]
                before = at
            lines[-1] += self._statement(statement, index) + " "
        return "\n".join([self.head() + " {", *sorted(self.locals), *lines, "}"])

    def _statement(self, statement: object, index: int) -> str:
        match statement:
            case Label(name):
                return self.labels[-1][name] + ": ;"
            case Scope(True):
                self._enter(index + 1)
                return "{"
            case Scope(False):
                self.scopes.pop()
                self.labels.pop()
                return "}"
            case Variable():
                return self._declare(statement)
            case Instruction():
                return self._instruction(statement)
        return ""

    def _enter(self, start: int) -> None:
        """A scope opens: its labels are known before its statements, since branches go forward."""
        depth, labels = 0, {}
        for statement in (self.function.body or ())[start:]:
            depth += (statement.opens or -1) if isinstance(statement, Scope) else 0
            if depth < 0:
                break
            if isinstance(statement, Label) and depth == 0:
                labels[statement.name] = f"{statement.name}${start}"
        self.labels.append(labels)
        self.scopes.append({})

    def _declare(self, variable: Variable) -> str:
        self.scopes[-1][variable.name] = variable
        if variable.space == "reg":
            return f"{cpp_type(register_type(variable.type))} {_register(variable.name)};"
        if variable.space == "param":
            return f"{_bytes(variable)} V_{variable.name};"
        if variable.space == "local":
            return declaration(variable)
        return ""  # shared, const and global ones are the module's

    def _instruction(self, instruction: Instruction) -> str:
        operation = OPERATIONS.get(instruction.opcode)
        if operation is None:
            raise PtxError(instruction.line, instruction.text)
        try:
            text = operation(self, instruction)
        except (KeyError, IndexError, ValueError):
            raise PtxError(instruction.line, instruction.text) from None
        if text and instruction.predicate:
            condition = self.value(instruction.predicate, "pred")
            return f"if ({condition}) {{ {text} }}"
        return text

    # What the operations ask for: operands as C++.

    def variable(self, name: str) -> Variable | None:
        """The variable of that name: a register, a parameter, or memory."""
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        return self.names.variables.get(name)

    def label(self, name: str) -> str:
        for labels in reversed(self.labels):
            if name in labels:
                return labels[name]
        raise KeyError(name)

    def value(self, operand: str, ptx_type: str) -> str:
        """An operand read as `ptx_type`."""
        cpp = cpp_type(ptx_type)
        if operand.startswith("!"):
            return f"!{self.value(operand[1:], ptx_type)}"
        if operand in _SPECIAL:
            return f"ptx::as<{cpp}>({_SPECIAL[operand]})"
        if operand == "%dynamic_smem_size":
            return f"ptx::as<{cpp}>(*(u32*){self.parameter(_DYNAMIC_SIZE.name)})"
        if _LITERAL.match(operand):
            return literal(operand, ptx_type, self.line)
        variable = self.variable(operand)
        if variable is not None and variable.space == "reg":
            own = register_type(variable.type)
            return f"{_register(operand)}" if own == cpp else f"ptx::as<{cpp}>({_register(operand)})"
        return f"ptx::as<{cpp}>({self.address_of(operand)})"

    def address_of(self, operand: str) -> str:
        """`name` or `name+4` as a 64-bit number: an offset where it is shared."""
        match = _ADDRESS.match(operand.removeprefix("generic(").replace(")", ""))
        variable = self.variable(match[1]) if match else None
        if match is None or variable is None or variable.space in ("reg", "param"):
            raise KeyError(operand)
        address = f"u64(&V_{variable.name})"
        if variable.space != "local":
            self.names.use(variable)
        if variable.space == "shared":
            address = f"({address} - u64(shared))"
        return f"({address} + {int(match[2] or '0', 0)})"

    def pointer(self, operand: str, space: str) -> str:
        """`[%rd1+8]`, `[name]` as a char* in the state space."""
        match = _ADDRESS.match(operand.strip("[] "))
        if match is None:
            raise KeyError(operand)
        name, offset = match[1], int((match[2] or "0").replace(" ", ""), 0)
        variable = self.variable(name)
        if space == "param":
            return f"({self.parameter(name)} + {offset})"
        wide = "u32" if space == "shared" else "u64"
        base = (
            self.value(name, wide)
            if variable is None or variable.space == "reg"
            else f"{wide}({self.address_of(name)})"
        )
        where = f"{base} + {wide}({offset})" if offset else base
        return f"(shared + s32({where}))" if space == "shared" else f"(char*)({where})"

    def parameter(self, name: str) -> str:
        """A parameter's bytes: of this function, or of a call that it makes."""
        variable = self.variable(name)
        if variable is None or variable.space != "param":
            raise KeyError(name)
        if not self.function.entry or variable not in self.parameters:
            return f"V_{name}.at"
        number = self.parameters.index(variable)
        if number not in self.read:
            self.read.append(number)
            self.read.sort()
        return f"(char*)&V_{name}"

    def assign(self, register: str, expression: str) -> str:
        """The register gets the value's bits, extended by the sign of the value's type where it is wider."""
        if result_is_ignored(register):
            return f"(void)({expression});"
        variable = self.variable(register)
        if variable is None or variable.space != "reg":
            raise KeyError(register)
        return f"{_register(register)} = ptx::as<{register_type(variable.type)}>({expression});"


def register_type(ptx_type: str) -> str:
    """What holds a register: b32, u32 and s32 are one."""
    return ptx_type if ptx_type in ("pred", "f32", "f64") else "u" + ptx_type[1:]


def _register(name: str) -> str:
    return "$" + name.removeprefix("%")


def _bytes(variable: Variable) -> str:
    size = size_of(variable.type)
    return f"ptx::Bytes<{size * (variable.size or 1)}, {max(variable.align, size)}>"
