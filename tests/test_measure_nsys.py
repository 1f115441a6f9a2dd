"""Reports of Nsight Systems and the program itself, both pretended: see nsys_reports.py."""

from pathlib import Path

import pytest
from nsys_reports import EMPTY, GEMM, STEP_NS, reports
from pretended_tools import fake_nsys  # noqa: F401, a fixture

from gpucnn.costs import Cost
from gpucnn.errors import DeviceError, UsageError
from gpucnn.measure import nsys
from gpucnn.measure.slices import rows
from gpucnn.measure.trace import trace
from gpucnn.roofs import Roofs

REDUCE = 'cub::Reduce<float, cub::Sum, cub::Name<"a, b">>'


@pytest.mark.parametrize("commas", [True, False])
def test_every_kernel_belongs_to_the_innermost_range_of_its_launch(commas):
    profile = nsys.profile(reports(commas=commas))
    found = {(row.name, row.kernel): row for row in rows(profile, {}, None)}
    assert {key: (row.calls, row.us) for key, row in found.items()} == {
        ("features.0.forward", GEMM): (1, 25),
        ("features.0.forward", REDUCE): (1, 15),
        ("features.0.backward_weight", "conv2d_backward_weight_gemm"): (1, 30),
        ("optimizer", "sgd_step"): (1, 10),
        (nsys.OUTSIDE, "[CUDA memcpy Device-to-Host]"): (1, 5),
    }
    # gaps on stream 7: 1 us behind the gemm, 1 us behind the reduction, 12 us before the copy, 11 us from step to step
    gaps = {key[1]: row.gap_us for key, row in found.items()}
    assert gaps[REDUCE] == pytest.approx(1) and gaps["conv2d_backward_weight_gemm"] == pytest.approx(1)
    assert gaps["[CUDA memcpy Device-to-Host]"] == pytest.approx(12) and gaps[GEMM] == pytest.approx(11 / 2)
    assert gaps["sgd_step"] == pytest.approx(90 / 2)  # alone on its stream, once in a step


def test_the_parts_sum_up_to_the_step():
    """Busy and idle time of the stream that is never overtaken make up the step: within 5 %."""
    profile = nsys.profile(reports(steps=20))
    assert profile.steps == 20
    assert profile.step_us == pytest.approx(1e-3 * STEP_NS, rel=0.01)  # the last one ends with its last kernel
    assert profile.attributed_us == pytest.approx(85)
    of_stream_7 = [row for row in rows(profile, {}, None) if row.kernel != "sgd_step"]
    assert sum(row.us + row.gap_us for row in of_stream_7) == pytest.approx(profile.step_us, rel=0.05)
    assert sum(row.share for row in rows(profile, {}, None)) == pytest.approx(0.85, rel=0.05)


def test_rates_are_those_of_a_range_and_stand_beside_its_longest_kernel():
    cost = Cost(flops=400_000_000, bytes=4_000_000)  # in 40 us: 10 TFLOP/s, 100 GB/s; at best 20 us
    found = rows(nsys.profile(reports()), {"features.0.forward": cost}, Roofs(20_000, 1_000))
    first, second = found[:2]
    assert (first.name, first.kernel) == ("features.0.forward", GEMM)
    assert (first.gflops, first.gbs) == (pytest.approx(10_000), pytest.approx(100))
    assert (first.intensity, first.roof) == (100, pytest.approx(0.5))
    assert (second.name, second.gflops, second.roof) == ("features.0.forward", None, None)


def test_a_graph_has_no_layers():
    profile = nsys.profile(reports(graph=True), steps=2)
    assert {each.name for each in profile.kernels} == {nsys.GRAPH}
    assert profile.steps == 2 and profile.attributed_us == pytest.approx(85)


def test_each_stream_is_a_line_of_the_trace():
    events = trace(nsys.profile(reports()), "two streams")["traceEvents"]
    names = {each["tid"]: each["args"]["name"] for each in events if each["name"] == "thread_name"}
    assert sorted(names.values()) == ["stream 13", "stream 7", "thread 77", "thread 78"]
    on = {each["args"]["kernel"]: names[each["tid"]] for each in events if each.get("cat") == "kernel"}
    assert on["sgd_step"] == "stream 13" and on[GEMM] == "stream 7"


@pytest.mark.parametrize("texts", [EMPTY, dict.fromkeys(EMPTY, "")], ids=["skipped", "no text"])
def test_an_empty_report(texts):
    with pytest.raises(DeviceError, match="nsys's report has no kernels"):
        nsys.profile(texts)


@pytest.mark.parametrize("time", ["25 us", "", "nan", "inf", "1e300"])
def test_a_report_whose_times_are_none(time):
    broken = reports(commas=False)
    broken["cuda_gpu_trace"] = broken["cuda_gpu_trace"].replace("25000", time)
    with pytest.raises(DeviceError, match="a time that is no number"):
        nsys.profile(broken)


def test_a_report_that_is_no_csv():
    broken = reports()
    broken["cuda_gpu_trace"] = "x" * 200_000 + broken["cuda_gpu_trace"]
    with pytest.raises(DeviceError, match="no CSV"):
        nsys.profile(broken)


def test_only_times_have_units():
    """Names and numbers of threads stay text, whatever stands in brackets; a time without a unit is no time."""
    text = "Start (ns),Name (us),TID (s)\n1000,2,3\n"
    assert nsys.table(text, "start", "name", "tid") == [{"start": 1.0, "name": "2", "tid": "3"}]
    assert nsys.table("Start,Name\n1000,f\n", "start", "name") == []


def test_other_units_and_what_stands_behind_a_table():
    text = 'Said "before\nstart (s),Duration (ms),Name\n1.5,2,"f, g"\n\n1,2,3\n'
    assert nsys.table(text, "start", "duration") == [{"start": 1.5e6, "duration": 2000.0, "name": "f, g"}]
    assert nsys.table(text, "start", "stream") == []


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("void f<int, 2>(float *, int)", "f<int, 2>"),
        ("conv2d_forward_gemm", "conv2d_forward_gemm"),
        ("(anonymous namespace)::f(int)", "(anonymous namespace)::f"),
        ("void f<void (*)(int)>(float)", "f<void (*)(int)>"),
        ("[CUDA memset]", "[CUDA memset]"),
    ],
)
def test_names_without_types(name, short):
    assert nsys.short(name) == short


def test_nsys_records_and_exports(fake_nsys, tmp_path):  # noqa: F811
    asked = fake_nsys()
    report = tmp_path / "kept.nsys-rep"
    nsys.record(["python", "-m", "gpucnn"], report)
    texts = nsys.export(report, tmp_path / "exported")
    assert nsys.profile(texts).steps == 2
    record, stats = asked()
    assert record[0] == "profile" and record[-3:] == ["python", "-m", "gpucnn"]
    assert {"--capture-range=cudaProfilerApi", "--capture-range-end=stop", "--cuda-graph-trace=node"} <= {*record}
    assert stats[0] == "stats" and stats[-1] == str(report) and "--format=csv" in stats


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("sys.exit('Permission denied: perf_event_paranoid')", "nsys profile failed: Permission denied"),
        ("sys.exit(3)", "nsys profile failed: it says nothing"),
        ("pass", "nsys wrote no report"),
    ],
)
def test_an_nsys_that_fails(fake_nsys, tmp_path, body, fault):  # noqa: F811
    fake_nsys(body)
    with pytest.raises(DeviceError, match=fault):
        nsys.record(["true"], tmp_path / "x.nsys-rep")


def test_no_nsys(monkeypatch, tmp_path, fake_nsys):  # noqa: F811
    fake_nsys(mode=0o644)  # a file that nobody may run is none
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(DeviceError, match="nsys is not on the PATH"):
        nsys.record(["true"], tmp_path / "x.nsys-rep")
    assert not nsys.on_path()


def test_an_nsys_that_is_no_program(monkeypatch, tmp_path):
    (tmp_path / "nsys").write_text("no program")
    (tmp_path / "nsys").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeviceError, match="nsys does not start: Exec format error"):
        nsys.record(["true"], tmp_path / "x.nsys-rep")


def test_csv_files_side_by_side(tmp_path):
    for name, text in reports().items():
        (tmp_path / f"kept.1_{name}.csv").write_text(text)
    base = nsys.base_of(tmp_path / "kept.1_cuda_gpu_trace.csv")
    assert base == tmp_path / "kept.1"
    assert nsys.profile(nsys.exported(base)).steps == 2
    Path(f"{base}_cuda_api_trace.csv").unlink()
    for file in ("kept.1_cuda_gpu_trace.csv", "kept.1.csv"):
        with pytest.raises(UsageError, match="are needed side by side"):
            nsys.base_of(tmp_path / file)
