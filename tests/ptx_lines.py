"""Lines of PTX applied to every element of some arrays, on the simulator."""

import numpy as np
from gpucnn_kernels.sim import PtxModule

TYPES = {
    np.dtype(f"{kind}{size}"): f"{'s' if kind == 'i' else kind}{8 * size}" for kind in "iu" for size in (1, 2, 4, 8)
}
TYPES |= {np.dtype("f4"): "f32", np.dtype("f8"): "f64"}


def register(ptx_type):
    """8-bit values live in 16-bit registers."""
    return ptx_type if ptx_type[0] == "f" else f"b{max(16, int(ptx_type[1:]))}"


def apply(line, result, *arrays):
    """`line` of every element: it has the operands %a, %b, %c (of the arrays) and %d, of dtype `result`, and %p, %q."""
    return apply_each([line], result, *arrays)[0]


def apply_each(lines, result, *arrays):
    """One array for each of the lines, in a single kernel: to build one takes a tenth of a second."""
    count, names = len(arrays[0]), "abc"[: len(arrays)]
    types = {name: TYPES[array.dtype] for name, array in zip(names, arrays, strict=True)} | {
        "d": TYPES[np.dtype(result)]
    }
    declared = " ".join(f".reg .{register(t)} %{n}; .reg .b64 %p{n};" for n, t in types.items())
    places = " ".join(
        f"ld.param.u64 %p{n}, [{n}]; mad.wide.u32 %p{n}, %i, {int(t[1:]) // 8}, %p{n};" for n, t in types.items()
    )
    size = np.dtype(result).itemsize
    loads = " ".join(f"ld.global.{types[n]} %{n}, [%p{n}];" for n in names)
    store = f"st.global.{types['d']} [%pd], %d; add.u64 %pd, %pd, {count * size};"
    body = "\n".join(f"{{ {loads}\n{line}\n{store} }}" for line in lines)
    ptx = f"""
.version 8.0
.target sm_80
.address_size 64
.visible .entry apply({", ".join(f".param .u64 {n}" for n in types)})
{{
.reg .pred %p, %q; .reg .b32 %i; .reg .b16 %h, %l; {declared}
mov.u32 %i, %tid.x; {places}
{body}
ret;
}}
"""
    out = np.zeros((len(lines), count), result)
    PtxModule(code=ptx).get_function("apply")((1,), (count,), (*arrays, out))
    return out
