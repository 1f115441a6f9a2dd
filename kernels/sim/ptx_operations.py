"""One function an instruction of PTX: its text in C++, a call of a template of ptx.h wherever there is one.

Chapter 9 of https://docs.nvidia.com/cuda/parallel-thread-execution. What is not here raises: KeyError, IndexError
and ValueError become a PtxError with the instruction's line (ptx_emit.py). Modifiers that change nothing on a CPU
(cache hints, scopes, `.uni`) are listed in _NO_EFFECT; one that is in no list is refused.
"""

import re
from collections.abc import Callable
from typing import Any

from .ptx_parse import Instruction, split_operands

Operation = Callable[[Any, Instruction], str]
OPERATIONS: dict[str, Operation] = {}

_TYPE = re.compile(r"[usbf](8|16|32|64)$|pred$")
_SPACES = ("global", "shared", "local", "param", "const", "shared_cta", "param_entry", "param_func")
_CACHES = {"nc", "ca", "cg", "cs", "lu", "cv", "wb", "wt", "L1_evict_last", "L1_evict_first", "L1_no_allocate"}
_ORDERS = {"relaxed", "acquire", "release", "acq_rel", "sc", "weak", "cta", "gpu", "sys", "cluster", "mmio"}
_NO_EFFECT = _CACHES | _ORDERS | {"uni", "aligned", "sync", "L2_64B", "L2_128B", "L2_256B"}
_DIRECTED = {"rz": "TO_ZERO", "rm": "DOWN", "rp": "UP"}


def cpp_type(ptx_type: str) -> str:
    """b32 -> u32; the others are named in ptx.h as in PTX."""
    if not _TYPE.match(ptx_type) or ptx_type == "f16":
        raise ValueError(ptx_type)
    return "u" + ptx_type[1:] if ptx_type[0] == "b" else ptx_type


def result_is_ignored(register: str) -> bool:
    return register == "_"


def _operation(*names: str) -> Callable[[Operation], Operation]:
    def register(function: Operation) -> Operation:
        OPERATIONS.update(dict.fromkeys(names, function))
        return function

    return register


def _split(instruction: Instruction, known: str = "") -> tuple[set[str], list[str]]:
    """The modifiers that matter and the types. ValueError where a modifier is none of `known`."""
    types = [m for m in instruction.modifiers if _TYPE.match(m)]
    others = {m for m in instruction.modifiers if not _TYPE.match(m)} - _NO_EFFECT
    if not others <= set(known.split()):
        raise ValueError(others)
    return others, types


def _two(register: str) -> tuple[str, str]:
    """`%r1|%p1`, where an instruction has a second result."""
    first, _, second = register.partition("|")
    return first.strip(), second.strip() or "_"


# Arithmetic.

_PLAIN = {n: n for n in ("popc", "clz", "brev", "bfind", "cnot", "abs", "neg", "rem", "copysign", "prmt")}
_PLAIN |= {"and": "band", "or": "bor", "xor": "bxor", "not": "bnot"}  # which are words of C++
_FLOAT = "rn rz rm rp ftz sat approx full"


@_operation(*_PLAIN)
def _plain(body: Any, i: Instruction) -> str:
    modifiers, (kind,) = _split(i, "shiftamt" if i.opcode == "bfind" else "ftz")
    name = _PLAIN[i.opcode] + ("_shiftamt" if "shiftamt" in modifiers else "")
    template = "" if i.opcode == "prmt" else f"<{cpp_type(kind)}>"
    call = f"ptx::{name}{template}({', '.join(body.value(o, kind) for o in i.operands[1:])})"
    return body.assign(i.operands[0], f"ptx::ftz({call})" if "ftz" in modifiers else call)


@_operation("add", "sub", "mul", "div", "fma", "mad", "rcp", "sqrt", "rsqrt", "ex2", "lg2", "sin", "cos", "tanh")
def _arithmetic(body: Any, i: Instruction) -> str:
    if "cc" in i.modifiers:
        return _carried(body, i)
    modifiers, (kind,) = _split(i, _FLOAT + " lo hi wide")
    t, wide = cpp_type(kind), kind[0] + str(2 * int(kind[1:])) if "wide" in modifiers else kind
    if i.opcode in ("mul", "mad") and (kind[0] == "f") == bool(modifiers & {"lo", "hi", "wide"}):
        raise ValueError(i.text)
    name = i.opcode + "".join(f"_{m}" for m in ("hi", "wide") if m in modifiers)
    kinds = [kind, kind, wide]
    values = [body.value(o, k) for o, k in zip(i.operands[1:], kinds, strict=False)]
    if kind[0] != "f":
        if "sat" in modifiers:  # add.sat.s32 and the like
            raise ValueError(i.text)
        return body.assign(i.operands[0], f"ptx::{name}<{t}>({', '.join(values)})")
    name = "fma" if name == "mad" else name
    return body.assign(i.operands[0], _rounded(f"{name}<{t}>", t, values, modifiers))


def _rounded(name: str, t: str, values: list[str], modifiers: set[str]) -> str:
    if "ftz" in modifiers:
        values = [f"ptx::ftz({value})" for value in values]
    call = f"ptx::{name}({', '.join(values)})"
    if mode := next((_DIRECTED[m] for m in modifiers if m in _DIRECTED), None):
        names = "abc"[: len(values)]
        function = f"[]({', '.join(f'{t} {n}' for n in 'abc')}) {{ return ptx::{name}({', '.join(names)}); }}"
        call = f"ptx::rounded<{t}, {t}>(ptx::{mode}, {function}, {', '.join(values)})"
    for modifier, wrapper in (("sat", "saturate"), ("ftz", "ftz")):
        call = f"ptx::{wrapper}({call})" if modifier in modifiers else call
    return call


@_operation("addc", "subc", "madc")
def _carried(body: Any, i: Instruction) -> str:
    modifiers, (kind,) = _split(i, "cc lo hi")
    t = cpp_type("u" + kind[1:])
    signed = "mul_hi" if "hi" in modifiers else "mul"
    *factors, last = (body.value(o, t) for o in i.operands[1:])
    first = factors[0]
    if i.opcode.startswith("mad"):
        if kind[0] == "s" and "hi" in modifiers:
            raise ValueError(i.text)
        first = f"ptx::{signed}<{t}>({', '.join(factors)})"
    name = "sub_carry" if i.opcode.startswith("sub") else "add_carry"
    body.locals.add("u32 carry = 0, no_carry;")
    carry_in = "carry" if i.opcode.endswith("c") else "0"
    carry_out = "carry" if "cc" in modifiers else "no_carry"
    return body.assign(i.operands[0], f"ptx::{name}<{t}>({first}, {last}, {carry_in}, {carry_out})")


@_operation("min", "max")
def _extreme(body: Any, i: Instruction) -> str:
    modifiers, (kind,) = _split(i, "ftz NaN")
    name = f"{i.opcode}{'_nan' if 'NaN' in modifiers else ''}<{cpp_type(kind)}>"
    return body.assign(i.operands[0], _rounded(name, kind, [body.value(o, kind) for o in i.operands[1:]], modifiers))


@_operation("shl", "shr", "bfe", "bfi")
def _shift(body: Any, i: Instruction) -> str:
    _, (kind,) = _split(i)
    whole = 2 if i.opcode == "bfi" else 1
    values = [body.value(o, kind if n < whole else "u32") for n, o in enumerate(i.operands[1:])]
    return body.assign(i.operands[0], f"ptx::{i.opcode}<{cpp_type(kind)}>({', '.join(values)})")


@_operation("shf")
def _funnel_shift(body: Any, i: Instruction) -> str:
    modifiers, _ = _split(i, "l r wrap clamp")
    name = f"shf_{'l' if 'l' in modifiers else 'r'}<{'true' if 'clamp' in modifiers else 'false'}>"
    return body.assign(i.operands[0], f"ptx::{name}({', '.join(body.value(o, 'u32') for o in i.operands[1:])})")


@_operation("lop3")
def _lop3(body: Any, i: Instruction) -> str:
    _split(i)
    values = ", ".join(body.value(o, "b32") for o in i.operands[1:4])
    return body.assign(i.operands[0], f"ptx::lop3<{int(i.operands[4], 0)}>({values})")


# Comparison and selection.

_UNSIGNED = {"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}
_COMPARISONS = "eq ne lt le gt ge lo ls hi hs equ neu ltu leu gtu geu num nan"


def _compared(body: Any, i: Instruction) -> tuple[str, str, list[str]]:
    """The comparison, what combines it with the predicate that follows, and the types."""
    modifiers, kinds = _split(i, _COMPARISONS + " and or xor ftz")
    (name,) = modifiers & set(_COMPARISONS.split())
    values = [body.value(o, kinds[-1]) for o in i.operands[1:3]]
    if "ftz" in modifiers:
        values = [f"ptx::ftz({value})" for value in values]
    combine = {"and": "&", "or": "|", "xor": "^"}
    sign = next((combine[m] for m in modifiers if m in combine), "")
    return f"ptx::{_UNSIGNED.get(name, name)}<{cpp_type(kinds[-1])}>({', '.join(values)})", sign, kinds


@_operation("setp")
def _setp(body: Any, i: Instruction) -> str:
    truth, sign, _ = _compared(body, i)
    first, second = _two(i.operands[0])
    more = f" {sign} {body.value(i.operands[3], 'pred')}" if sign else ""
    if second == "_":
        return body.assign(first, f"bool({truth}{more})")
    one = body.assign(first, f"bool(is{more})")
    return f"{{ const bool is = {truth}, is_not = !is; {one} {body.assign(second, f'bool(is_not{more})')} }}"


@_operation("set")
def _set(body: Any, i: Instruction) -> str:
    truth, sign, kinds = _compared(body, i)
    more = f" {sign} {body.value(i.operands[3], 'pred')}" if sign else ""
    t = cpp_type(kinds[0])
    return body.assign(i.operands[0], f"({truth}{more}) ? {t}({'1' if t == 'f32' else '-1'}) : {t}(0)")


@_operation("selp", "slct")
def _selp(body: Any, i: Instruction) -> str:
    modifiers, kinds = _split(i, "ftz")
    a, b = (body.value(o, kinds[0]) for o in i.operands[1:3])
    condition = body.value(i.operands[3], "pred" if i.opcode == "selp" else kinds[1])
    if i.opcode == "slct":
        condition = f"{f'ptx::ftz({condition})' if modifiers else condition} >= 0"
    return body.assign(i.operands[0], f"{condition} ? {a} : {b}")


# Moves and conversions.


@_operation("mov")
def _mov(body: Any, i: Instruction) -> str:
    _, (kind,) = _split(i)
    to, source = i.operands
    if to.startswith("{"):
        parts = split_operands(to[1:-1])
        width = int(kind[1:]) // len(parts)
        each = [body.assign(p, f"u{width}(all >> {n * width})") for n, p in enumerate(parts)]
        return f"{{ const u{kind[1:]} all = {body.value(source, 'b' + kind[1:])}; {' '.join(each)} }}"
    if source.startswith("{"):
        parts = split_operands(source[1:-1])
        width = int(kind[1:]) // len(parts)
        each = [f"u{kind[1:]}({body.value(p, f'b{width}')}) << {n * width}" for n, p in enumerate(parts)]
        return body.assign(to, " | ".join(each))
    return body.assign(to, body.value(source, kind))


@_operation("cvta")
def _cvta(body: Any, i: Instruction) -> str:
    modifiers, _ = _split(i, "to " + " ".join(_SPACES))
    to, source = i.operands
    if not modifiers & {"shared", "shared_cta"}:
        return body.assign(to, body.value(source, "u64"))
    if "to" in modifiers:
        return body.assign(to, f"{body.value(source, 'u64')} - u64(shared)")
    return body.assign(to, f"u64(shared + s32({body.value(source, 'u32')}))")


_NARROW = {"rn.bf16.f32": "ptx::to_bf16", "rn.bf16x2.f32": "ptx::to_bf16x2", "rna.tf32.f32": "gpusim::cvt_rna_tf32"}


@_operation("cvt")
def _cvt(body: Any, i: Instruction) -> str:
    to, *sources = i.operands
    if name := _NARROW.get(".".join(i.modifiers)):
        return body.assign(to, f"{name}({', '.join(body.value(s, 'f32') for s in sources)})")
    modifiers, (target, origin) = _split(i, "rn rz rm rp rni rzi rmi rpi sat ftz")
    d, s = cpp_type(target), cpp_type(origin)
    value = body.value(sources[0], origin)
    if "ftz" in modifiers and s == "f32":
        value = f"ptx::ftz({value})"
    integral = next((m for m in modifiers if m in ("rni", "rzi", "rmi", "rpi")), "")
    mode = next((_DIRECTED[m] for m in modifiers if m in _DIRECTED), "")
    if integral:
        value = f"ptx::{integral}<{s}>({value})"
    if s[0] == "f" and d[0] != "f":
        if not integral:
            raise ValueError(i.text)
        value = f"ptx::to_integer<{d}>({value})"
    elif s[0] != "f" and d[0] != "f":
        value = f"ptx::clamped<{d}>({value})" if "sat" in modifiers else f"{d}({value})"
    elif mode:
        value = f"ptx::rounded<{d}, {s}>(ptx::{mode}, []({s} a, {s}, {s}) {{ return {d}(a); }}, {value})"
    elif d != s:
        value = f"{d}({value})"
    if d[0] == "f":
        value = f"ptx::saturate({value})" if "sat" in modifiers else value
        value = f"ptx::ftz({value})" if "ftz" in modifiers and d == "f32" else value
    return body.assign(to, value)
