"""The instructions of PTX that touch memory, other threads or the order of execution (the rest: ptx_operations.py)."""

from typing import Any

from .ptx_operations import _SPACES, _operation, _split, _two, cpp_type, result_is_ignored
from .ptx_parse import Instruction, split_operands


def _space(modifiers: set[str]) -> str:
    found = [m for m in modifiers if m in _SPACES]
    return found[0].split("_")[0] if found else "generic"


# Memory.


@_operation("ld", "ldu", "st")
def _access(body: Any, i: Instruction) -> str:
    modifiers, (kind,) = _split(i, "volatile v2 v4 " + " ".join(_SPACES))
    address, other = i.operands if i.opcode == "st" else i.operands[::-1]
    pointer = body.pointer(address, _space(modifiers))
    t = cpp_type(kind)
    volatile = "volatile " if "volatile" in modifiers else ""
    if other.startswith("{"):
        parts = split_operands(other[1:-1])
        bytes_each = int(kind[1:]) // 8
        if len(parts) * bytes_each > 16:
            raise ValueError(i.text)
        vector = f"ptx::vector<{t}, {len(parts)}>"
        place = f"*({volatile}{vector}*)ptx::aligned<{len(parts) * bytes_each}>({pointer})"
        if i.opcode == "st":
            return f"{place} = {vector}{{{', '.join(body.value(p, kind) for p in parts)}}};"
        each = [body.assign(p, f"{t}(all[{n}])") for n, p in enumerate(parts) if not result_is_ignored(p)]
        return f"{{ const {vector} all = {place}; {' '.join(each)} }}"
    place = f"*({volatile}ptx::memory<{t}>*)({pointer})"
    if i.opcode == "st":
        return f"{place} = {body.value(other, kind)};"
    return body.assign(other, f"{t}({place})")


@_operation("atom", "red")
def _atomic(body: Any, i: Instruction) -> str:
    names = {"add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec"}
    modifiers, (kind,) = _split(i, " ".join((*names, *_SPACES)))
    (name,) = modifiers & names
    # CUDA's functions are for int, unsigned and unsigned long long: the bits are the same where no order is asked for.
    t = kind if kind[0] == "f" or (kind == "s32" and name in ("min", "max")) else "u" + kind[1:]
    if (kind[0] == "s" and t != kind and name in ("min", "max")) or t in ("u8", "u16"):
        raise ValueError(i.text)
    to, address, *values = (["_"] if i.opcode == "red" else []) + i.operands
    arguments = "".join(f", {body.value(v, t)}" for v in values)
    pointer = body.pointer(address, _space(modifiers))
    name = (
        f"ptx::atomic_add({arguments[2:]}, (f64*){pointer})"
        if t == "f64" and name == "add"
        else f"atomic{name.upper() if name == 'cas' else name.capitalize()}"
    )
    call = name if t == "f64" else f"{name}(({t}*){pointer}{arguments})"
    return body.assign(to, call)


@_operation("cp")
def _cp_async(body: Any, i: Instruction) -> str:
    if i.modifiers[:2] == ("async", "commit_group"):
        return "gpusim::cp_async_commit_group();"
    if i.modifiers[:2] == ("async", "wait_group"):
        return f"gpusim::cp_async_wait_group<{int(i.operands[0], 0)}>();"
    if i.modifiers[:2] == ("async", "wait_all"):
        return "gpusim::cp_async_wait_all();"
    modifiers, _ = _split(i, "async shared global shared_cta")
    if not {"async", "global"} <= modifiers:
        raise ValueError(i.text)
    to, source, size, *rest = i.operands
    width = int(size, 0)
    places = [f"ptx::aligned<{width}>({body.pointer(p, s)})" for p, s in ((to, "shared"), (source, "global"))]
    used = body.value(rest[0], "u32") if rest else f"{width}u"
    return f"gpusim::cp_async<{width}>({', '.join(places)}, {used});"


@_operation("prefetch", "prefetchu", "nanosleep", "membar", "fence")
def _nothing(body: Any, i: Instruction) -> str:
    return ""  # one core runs all threads: nothing is reordered


# Barriers and warps.


@_operation("bar", "barrier")
def _barrier(body: Any, i: Instruction) -> str:
    if i.opcode == "bar" and i.modifiers == ("warp", "sync"):
        return f"__syncwarp({body.value(i.operands[0], 'u32')});"
    modifiers, _ = _split(i, "red popc and or")
    if "red" in modifiers:
        to, barrier, *rest = i.operands
        predicate = body.value(rest.pop(), "pred")
        (how,) = modifiers & {"popc", "and", "or"}
        name = {"popc": "count"}.get(how, how)
        text = body.assign(to, f"{'u32' if how == 'popc' else 'bool'}(__syncthreads_{name}({predicate}))")
    else:
        barrier, *rest = i.operands
        text = "__syncthreads();"
    if barrier != "0" or rest:  # a named barrier, or one of some of the threads
        raise ValueError(i.text)
    return text


@_operation("shfl")
def _shfl(body: Any, i: Instruction) -> str:
    modifiers, _ = _split(i, "up down bfly idx")
    (mode,) = modifiers
    to, inside = _two(i.operands[0])
    value, lane, clamp, mask = (body.value(o, "u32") for o in i.operands[1:])
    each = f"{body.assign(to, f'__shfl_sync({mask}, {value}, s32(from.lane))')} {body.assign(inside, 'from.inside')}"
    return f"{{ const ptx::Source from = ptx::shfl_{mode}({lane}, {clamp}); {each} }}"


@_operation("vote")
def _vote(body: Any, i: Instruction) -> str:
    modifiers, _ = _split(i, "all any uni ballot")
    (mode,) = modifiers
    to, predicate, mask = i.operands
    truth, lanes = body.value(predicate, "pred"), body.value(mask, "u32")
    if mode == "ballot":
        return body.assign(to, f"__ballot_sync({lanes}, {truth})")
    if mode == "uni":
        return (
            f"{{ const u32 yes = __ballot_sync({lanes}, {truth}); {body.assign(to, f'yes == 0 || yes == ({lanes})')} }}"
        )
    return body.assign(to, f"bool(__{mode}_sync({lanes}, {truth}))")


@_operation("match", "redux")
def _warp_wide(body: Any, i: Instruction) -> str:
    modifiers, (kind,) = _split(i, "any add min max and or xor")
    (how,) = modifiers
    if i.opcode == "match" and how != "any":
        raise ValueError(i.text)
    to, value, mask = i.operands
    lanes = body.value(mask, "u32")
    return body.assign(to, f"ptx::{i.opcode}_{how}<{cpp_type(kind)}>({lanes}, {body.value(value, kind)})")


@_operation("mma")
def _mma(body: Any, i: Instruction) -> str:
    shape, a_layout, b_layout, *kinds = (m for m in i.modifiers if m not in ("sync", "aligned"))
    known = {"m16n8k8.f32.tf32.tf32.f32": "m16n8k8_tf32", "m16n8k16.f32.bf16.bf16.f32": "m16n8k16_bf16"}
    function = known[".".join((shape, *kinds))]
    if (a_layout, b_layout) != ("row", "col"):
        raise ValueError(i.text)
    d, a, b, c = (split_operands(o.strip("{}")) for o in i.operands)
    values = [", ".join(body.value(r, kind) for r in part) for part, kind in ((a, "b32"), (b, "b32"), (c, "f32"))]
    fragments = f"const u32 a[4] = {{{values[0]}}}, b[2] = {{{values[1]}}}; const f32 c[4] = {{{values[2]}}}; f32 d[4];"
    each = " ".join(body.assign(r, f"d[{n}]") for n, r in enumerate(d))
    return f"{{ {fragments} gpusim::mma_{function}(d, a, b, c); {each} }}"


@_operation("ldmatrix")
def _ldmatrix(body: Any, i: Instruction) -> str:
    modifiers, _ = _split(i, "m8n8 x1 x2 x4 trans shared shared_cta")
    parts = split_operands(i.operands[0].strip("{}"))
    trans = "true" if "trans" in modifiers else "false"
    row = body.pointer(i.operands[1], "shared" if _space(modifiers) == "shared" else "generic")
    each = [body.assign(p, f"all[{n}]") for n, p in enumerate(parts)]
    return f"{{ u32 all[{len(parts)}]; ptx::ldmatrix<{len(parts)}, {trans}>(all, {row}); {' '.join(each)} }}"


# Control flow.


@_operation("bra")
def _bra(body: Any, i: Instruction) -> str:
    _split(i)
    return f"goto {body.label(i.operands[0])};"


@_operation("brx")
def _brx(body: Any, i: Instruction) -> str:
    cases = [f"case {n}: goto {body.label(label)};" for n, label in enumerate(body.targets[i.operands[1]])]
    return f"switch ({body.value(i.operands[0], 'u32')}) {{ {' '.join(cases)} }}"


@_operation("ret", "exit")
def _ret(body: Any, i: Instruction) -> str:
    if i.opcode == "exit" and not body.function.entry:
        raise ValueError(i.text)
    results = body.function.results
    return f"return V_{results[0].name};" if results else "return;"


@_operation("trap", "brkpt")
def _trap(body: Any, i: Instruction) -> str:
    return "__trap();"


@_operation("call")
def _call(body: Any, i: Instruction) -> str:
    _split(i)
    operands = list(i.operands)
    result = operands.pop(0).strip("() ") if operands[0].startswith("(") else ""
    name, *rest = operands
    arguments = split_operands(rest.pop(0)[1:-1]) if rest else []
    if rest:  # a prototype: the function is known at run time only
        raise ValueError(i.text)
    values = ", ".join(f"V_{a}" for a in arguments if a)
    if name in ("vprintf", "__assertfail"):
        return f"{f'V_{result} = ' if result else ''}ptx::{name.strip('_')}({values});"
    return f"{f'V_{result} = ' if result else ''}{body.names.call(name)}({values});"
