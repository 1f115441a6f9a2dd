"""Reports of Nsight Systems, written by hand from the documented columns: no real report is among them.

Columns: https://docs.nvidia.com/nsight-systems/AnalysisGuide, the reports nvtx_pushpop_trace, cuda_api_trace and
cuda_gpu_trace. Two steps on two streams; in each the first layer's forward takes 40 us in two kernels, of which one has
a template's name with commas and quotes, its backward_weight 30 us, the optimizer 10 us beside it on another stream,
and then a copy takes 5 us that no range is around. All is launched by the thread 77, in which a library has a range of
its own domain inside of the first layer's; meanwhile a thread 78 has a range of ours, and launches nothing.
"""

PREAMBLE = """Generating SQLite file report.sqlite from report.nsys-rep
Exporting 1,374 events: [==================================================100%]
Processing [report.sqlite] with [/opt/nvidia/nsight-systems/host-linux-x64/reports/{name}.py]...
"""

RANGES = (
    "Start (ns),End (ns),Duration (ns),DurChild (ns),DurNonChild (ns),Name,PID,TID,Lvl,NumChild,RangeId,ParentId,"
    "RangeStack,NameTree\n"
)
CALLS = "Start (ns),Duration (ns),Name,Result,CorrID,Pid,Tid,T-Pri,Thread Name\n"
KERNELS = (
    "Start (ns),Duration (ns),CorrId,GrdX,GrdY,GrdZ,BlkX,BlkY,BlkZ,Reg/Trd,StcSMem (MB),DymSMem (MB),Bytes (MB),"
    "Throughput (MB/s),SrcMemKd,DstMemKd,Device,Ctx,GreenCtx,Strm,Name\n"
)

GEMM = "conv2d_forward_gemm"
TEMPLATE = 'void cub::Reduce<float, cub::Sum, cub::Name<""a, b"">>(float const *, int)'
STEP_NS = 100_000

#  name                        begin, end of the range   kernel, its start, duration, stream
WORK = (
    ("features.0.forward", 1_000, 9_000, [(GEMM, 10_000, 25_000, 7), (TEMPLATE, 36_000, 15_000, 7)]),
    ("features.0.backward", 11_000, 19_000, []),
    ("features.0.backward_weight", 12_000, 18_000, [("conv2d_backward_weight_gemm", 52_000, 30_000, 7)]),
    ("optimizer", 20_000, 29_000, [("sgd_step", 83_000, 10_000, 13)]),
)


def number(value):
    """With commas at the thousands, and then in quotes, as nsys writes some of them."""
    return f'"{value:,}"' if value >= 1000 else str(value)


def reports(steps=2, commas=True, graph=False):
    """{report: text} of REPORTS in gpucnn/measure/nsys.py. graph: all kernels come from one launch of a CUDA graph."""
    show = number if commas else str
    ranges, calls, kernels = [], [], []
    identity = 100

    def add_range(begin, end, name, level, tid=77):
        ranges.append(f"{show(begin)},{show(end)},{show(end - begin)},0,0,{name},42,{tid},{level},0,1,,:1,{name}\n")

    def add_kernel(name, start, duration, stream, launched):
        nonlocal identity
        identity += 0 if graph else 1
        if not graph or not calls:
            what = "cudaGraphLaunch_v10000" if graph else "cuLaunchKernel"
            calls.append(f"{show(launched)},900,{what},0,{identity},42,77,20,python\n")
        quoted = f'"{name}"' if "," in name else name
        kernels.append(
            f"{show(start)},{show(duration)},{identity},128,1,1,256,1,1,64,0.000,0.008,,,,,NVIDIA H100 (0),1,,{stream},"
            f"{quoted}\n"
        )

    for step in range(steps):
        at = 5_000_000 + step * STEP_NS
        if not graph:
            add_range(at, at + 95_000, "gpucnn:step", 0)
            add_range(at + 1_300, at + 95_500, "gpucnn:loader", 0, tid=78)
            add_range(at + 1_200, at + 8_800, "library:gemm", 2)
        for name, begin, end, launched in WORK:
            if not graph:
                add_range(at + begin, at + end, f"gpucnn:{name}", 2 if "weight" in name else 1)
            for i, (kernel, start, duration, stream) in enumerate(launched):
                add_kernel(kernel, at + start, duration, stream, at + begin + 500 + i * 1_000)
        add_kernel("[CUDA memcpy Device-to-Host]", at + 94_000, 5_000, 7, at + 96_000)
    bodies = {"nvtx_pushpop_trace": RANGES + "".join(ranges), "cuda_api_trace": CALLS + "".join(calls)}
    bodies["cuda_gpu_trace"] = KERNELS + "".join(kernels)
    return {name: PREAMBLE.format(name=name) + body + "\n" for name, body in bodies.items()}


EMPTY = {
    name: PREAMBLE.format(name=name) + "SKIPPED: report.sqlite does not contain CUDA trace data.\n"
    for name in reports()
}
