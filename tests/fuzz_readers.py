"""Every reader of what somebody else has written, with files to try it on; bench/fuzz.py and test_fuzz.py use them.

A reader may refuse what it is given, in one line that says what is wrong and one that says what to do. It may not
raise anything else, take a second, or take a gibibyte.
"""

import gzip
import io
import json
import os
import re
import resource
import struct
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import click
import fuzz_files as files
import hypothesis
import numpy as np
from hypothesis import strategies as st
from nsys_reports import reports

from gpucnn import CPU, checkpoint
from gpucnn.backend import own_kernels
from gpucnn.cli import drawings
from gpucnn.cli.figures import are_rows, read_figures
from gpucnn.cli.output import Output
from gpucnn.cli.plot import points
from gpucnn.cli.profile import recorded
from gpucnn.cli.profile_report import Report
from gpucnn.cli.resume import RESUMED
from gpucnn.cli.run_folder import METRICS, PREVIOUS, WEIGHTS, RunFolder, read_metrics, restore
from gpucnn.cli.train import train
from gpucnn.cli.weights import start_from
from gpucnn.data import cifar10, folder, mnist
from gpucnn.errors import GpucnnError
from gpucnn.measure import nsys
from gpucnn.models import MODELS
from gpucnn.optim import SGD
from gpucnn.training import Epoch

SECONDS, BYTES = 1.0, 1 << 30
REFUSALS = (GpucnnError, click.ClickException)  # the latter says of which flag it speaks


@dataclass(frozen=True)
class Reader:
    """read(given, folder) reads one of `given`, for which it may write into `folder`.

    functions: the code whose branches are to be covered: file -> names as in coverage's report.
    """

    read: Callable[[Any, Path], Any]
    given: st.SearchStrategy
    functions: dict[str, tuple[str, ...]]
    found: dict[str, Any] = field(default_factory=dict)


def fuzz(reader: Reader, place: Path, seed: int, count: int) -> Counter:
    """Outcome -> how often, of `count` files drawn from `seed`. Raises the first that is no refusal, made small."""
    outcomes: Counter = Counter()

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(reader.given)
    def one(given):
        outcomes[judge(reader, given, place)] += 1

    with at_most(BYTES):
        one()
    return outcomes


def judge(reader: Reader, given: Any, place: Path) -> str:
    """ "read", or the kind of error that refused it. Raises what no file may cause.

    What was slow is tried twice more: beside other programs a second passes sooner.
    """
    for _ in range(3):
        begin, outcome = time.thread_time(), "read"
        try:
            reader.read(given, place)
        except REFUSALS as error:
            outcome = type(error).__name__
            hint = getattr(error, "hint", "--help")
            assert hint and str(error) and "\n" not in str(error) + hint, f"not one line and a hint: {error!r}"
            assert not any(isinstance(cause, MemoryError) for cause in causes(error)), "out of memory"
        seconds = time.thread_time() - begin
        if seconds < SECONDS:
            return outcome
    raise AssertionError(f"it took {seconds:.1f} s")


def causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@contextmanager
def at_most(more: int) -> Iterator[None]:
    """A MemoryError for whoever takes more address space than now and `more`."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def read_idx(given: tuple[str, bytes], place: Path) -> None:
    name, content = given
    (place / name).write_bytes(content)
    mnist.read_idx(place / name, (28, 28))


@contextmanager
def small_batches() -> Iterator[None]:
    """CIFAR-10 in batches of two: thousands of files instead of a few."""
    batch = files.EXAMPLES * (1 + files.PIXELS)
    with patch.multiple(cifar10, _EXAMPLES=files.EXAMPLES, _BATCH_BYTES=batch):
        yield


def unending(name: str, kind: bytes) -> bytes:
    """An archive of CIFAR-10 that begins with a file of 2**70 bytes, by its header."""
    parts = [files.member(name, b"", kind, 1 << 70), *files.valid_members(True)]
    return gzip.compress(b"".join(parts) + bytes(1024), 1, mtime=0)


def read_batches(given: bytes | dict[str, bytes], place: Path) -> None:
    if isinstance(given, dict):
        (place / "folder").mkdir(exist_ok=True)
        for file in (place / "folder").iterdir():
            file.unlink()
        for name, content in given.items():
            (place / "folder" / name).write_bytes(content)
    else:
        (place / "a.tar.gz").write_bytes(given)
    with small_batches():
        cifar10.load(place / ("folder" if isinstance(given, dict) else "a.tar.gz"))


def read_pickle(given: bytes, place: Path) -> None:
    with small_batches():
        x, y = cifar10._parse_python(given, "a batch")
    assert x.shape == (2, 3, 32, 32) and x.dtype == np.uint8 and y.shape == (2,) and y.dtype == np.int64


def read_picture(given: tuple[bytes | str, int], place: Path) -> None:
    content, white = given
    path = place / "x.png"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "too large":
        path.touch()
        os.truncate(path, (1 << 27) + 1)
    else:
        path = place if content == "folder" else place / "nothing"
    x = folder.read_image(path, 3, (8, 8), white)
    assert x.shape == (3, 8, 8) and x.dtype == np.uint8 and x.max() <= white


def read_tree(given: dict | None, place: Path) -> None:
    root = place / "pictures"
    if given is None:
        folder.load(root, (4, 4))
    with plant(given, root):
        data = folder.load(root, (4, 4))
    assert len(data.classes) >= 2 and len(data.train_x) >= 2


@contextmanager
def plant(tree: dict, root: Path) -> Iterator[None]:
    """The folders and files of `tree`; gone again afterwards."""
    root.mkdir()
    try:
        for name, kind in tree.items():
            make(root / name, kind)
        yield
    finally:
        for parent, folders, names in os.walk(root, topdown=False):
            for each in names:
                Path(parent, each).unlink()
            for each in folders:
                Path(parent, each).unlink() if Path(parent, each).is_symlink() else Path(parent, each).rmdir()
        root.rmdir()


def make(path: Path, kind: Any) -> None:
    picture = files.pictures()[0][1]
    if isinstance(kind, dict):
        path.mkdir()
        for below, inside in kind.items():
            make(path / below, inside)
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind in ("zeros", "dangling"):
        path.symlink_to("/dev/zero" if kind == "zeros" else "nowhere")
    else:
        path.write_bytes({"picture": picture, "damaged": picture[:60], "empty": b""}[kind])


def read_weights(given: tuple[str, bytes], place: Path) -> None:
    name, content = given
    (place / name).write_bytes(content)
    checkpoint.load_weights(place / name)


def read_state(given: tuple[bytes | None, bool], place: Path) -> None:
    content, reset_head = given
    (place / "w.safetensors").write_bytes(content or b"")
    start_from(small_model(), None if content is None else place / "w.safetensors", reset_head)


def small_model() -> Any:
    return MODELS["linear"]((1, 2, 2), 3).initialize(0)


STATE = small_model().state_dict()
RUN = {
    "model": "linear", "input_shape": [1, 2, 2], "image_size": [2, 2], "white": 255, "classes": ["a", "b", "c"],
    "mean": [0.5], "std": [2.0], "dataset": "digits", "data_path": None, "seed": 0, "epoch": 3,
}  # fmt: skip


def written(state: checkpoint.State) -> bytes:
    """The file of a checkpoint."""
    contents = []
    with patch.object(checkpoint, "write_atomic", lambda path, content, keep: contents.append(content)):
        checkpoint.save_state(Path(), state)
    return contents[0]


def read_run(given: dict, place: Path) -> None:
    path = place / "run.safetensors"
    path.write_bytes(written(checkpoint.State(STATE, {}, given)))
    model, meta = restore(path, CPU)
    assert model.num_classes == len(meta["classes"])


OPTIMIZER = SGD(small_model().named_parameters(), lr=0.1, momentum=0.9).state_dict()
DATA = SimpleNamespace(name="digits", classes=("a", "b", "c"), sha256="0" * 64)
RESUMABLE = {
    "model": "linear", "classes": ["a", "b", "c"], "data_sha256": DATA.sha256, "epoch": 2, "step": 1,
    "sums": [0.5, 3.0], "seconds": 0.25,
    "config": {"model": "linear", "dataset": "digits", "epochs": 5, "lr_scheduler": "step", "graph": True},
}  # fmt: skip


RESUME = ("--resume", "RUN", "--model", "linear", "--epochs", "5")
WORDS = (
    (), RESUME[:2], ("--resume", "RUN/nothing"), (*RESUME, "--epochs", "1"), (*RESUME, "--overwrite"),
    (*RESUME, "--device", "cpu"), (*RESUME, "--lr", "0.5"),
)  # fmt: skip


def resumable(meta: dict) -> bytes:
    """The file of a checkpoint that says `meta` of itself."""
    return written(checkpoint.State(STATE, OPTIMIZER, meta))


def alone(meta: dict) -> tuple[dict[str, bytes | None], tuple[str, ...]]:
    """The same with nothing beside it, and the words that ask for it."""
    return {WEIGHTS: resumable(meta), PREVIOUS: None}, RESUME


def read_resumed(given: tuple[dict[str, bytes | None], tuple[str, ...]], place: Path) -> None:
    contents, words = given
    for name, content in contents.items():
        (place / name).unlink(missing_ok=True)
        if content is not None:
            (place / name).write_bytes(content)
    with click.Context(train) as context, redirect_stderr(io.StringIO()):  # which lets go of the folder at the end
        train.parse_args(context, [word.replace("RUN", str(place)) for word in words])
        if resumed := context.meta.get(RESUMED):
            resumed.refuse_others(context, context.params)
            model = small_model()
            resumed.load_into(model, SGD(model.named_parameters(), lr=0.1, momentum=0.9), DATA)


EPOCHS = [asdict(Epoch(i, 1.5, 0.25, 1.25, 0.5, 0.1, 2.0, 100.0)) for i in (1, 2)]


def read_rows(given: tuple[bytes, int | None], place: Path) -> None:
    content, epochs = given
    (place / METRICS).write_bytes(content)
    if epochs is None:  # there is no such run
        read_metrics(place / "nothing")
    with closing(RunFolder.open(place)) as folder:
        assert len(folder.metrics_until(epochs)) == epochs
    for epoch in read_metrics(place):
        assert all(isinstance(value, int | float) for value in asdict(epoch).values())


FACTS = {
    "model": "lenet",
    "dataset": "cifar10",
    "batch_size": 128,
    "device": "cuda:0",
    "kernels": "raw",
    "steps": 2,
    "plain_step_us": 95.5,
    "costs": {"features.0.forward": {"flops": 10**9, "bytes": 10**6}, "optimizer": {"flops": 0, "bytes": 99}},
    "roofs": {"gflops": 60_000.0, "gbs": 3000.0},
}
PASS = {"name": "features.0.forward", "kernels": "raw", "us": 10.0, "gflops": 50.0, "gbs": 9.0, "intensity": 4.0}
FIGURES = FACTS | {"rows": [PASS, PASS | {"kernels": "numba"}, PASS | {"name": "optimizer", "gflops": None}]}


REPORTS = {name: text.encode() for name, text in reports().items()}


def read_recorded(given: tuple[dict[str, bytes], bytes | None], place: Path) -> None:
    texts, facts = given
    for name in nsys.REPORTS:
        (place / f"x_{name}.csv").unlink(missing_ok=True)
    for name, text in texts.items():
        (place / f"x_{name}.csv").write_bytes(text)
    (place / "x.json").unlink(missing_ok=True)
    if facts is not None:
        (place / "x.json").write_bytes(facts)
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()):
        Report(Output(as_json=True), None, place / "trace.json", None).show(
            "nsys", *recorded(place / "x_cuda_gpu_trace.csv")
        )
    found = json.loads(out.getvalue())
    assert found["step_us"] >= 0 and found["rows"]


def read_roofline(given: bytes, place: Path) -> None:
    (place / "x.json").write_bytes(given)
    passes = points(drawings, read_figures(place / "x.json", "measure", rows=are_rows)["rows"])
    assert all(0 < number < 1e19 for _, *numbers in passes for number in numbers)


def read_config(given: bytes, place: Path) -> None:
    (place / "c.toml").write_bytes(given)
    train.make_context("train", ["--config", str(place / "c.toml")])


TOKENS = re.findall(r"\w+|\s+|[^\w\s]", (Path(__file__).parents[1] / "examples" / "my_conv.cu").read_text())


def read_kernels(given: tuple[str, bytes], place: Path) -> None:
    op, content = given
    (place / "k.cu").write_bytes(content)
    own_kernels(op, str(place / "k.cu"))


# Who else looks into a file, and why nobody need damage it.
_OURS, _LINUX, _HASHED = "of gpucnn itself", "of Linux", "made here, and compared with its hash"
TRUSTED = {
    "gpucnn/checkpoint.py": {"save_state": _OURS, "link_atomic": "copied as it is"},
    "gpucnn/claims/claim.py": {"_source": _OURS},
    "gpucnn/cli/claim_record.py": {"Record._read": "what gpucnn reproduce has kept for itself"},
    "gpucnn/cli/demo_server.py": {"application": _OURS},
    "gpucnn/cli/environment.py": {"cpu_name": _LINUX},
    "gpucnn/cli/ranks.py": {"_code_sha256": _OURS},
    "gpucnn/data/digits.py": {"_read": _OURS},
    "gpucnn/memory.py": dict.fromkeys(("_of_the_machine", "_of_the_group", "_of_the_process"), _LINUX),
    "gpucnn/roofs.py": {"roofs": "numbers of a cache: test_roofs.py damages them"},
    "kernels/__init__.py": {"source": "the text of a kernel, for its compiler"},
    "kernels/clock.py": {"last_level_cache": _LINUX},
    "kernels/cpu/compiled.py": dict.fromkeys(("_digest", "_Locator.get_source_stamp"), _OURS),
    "kernels/sim/build.py": {"_sources": _OURS},
    "kernels/sim/compiler.py": dict.fromkeys(("build", "_is_whole"), _HASHED),
}


METADATA = st.sampled_from(
    (
        '{"version": 1}',
        '{"version": 2}',
        '{"version": 3}',
        "[" * 100_000,
        '{"version": 1e400}',
        "9" * 5000,
        "null",
        "{",
        '{"version": [[[[{}]]]]}',
        "",
    )
)


KERNEL = b'extern "C" __global__ void conv2d_forward'
VERSION_AND_OTHERS = st.one_of(
    st.sampled_from(({"gpucnn": '{"version": 1}'}, {})),
    METADATA.map(lambda text: {"gpucnn": text}),
    st.dictionaries(st.just("gpucnn"), files.JSON),
)


OTHERS = (
    RESUMABLE, RESUMABLE, RESUMABLE | {"classes": ["a", "b"]}, RESUMABLE | {"data_sha256": "1" * 64},
    RESUMABLE | {"config": RESUMABLE["config"] | {"epoch": 5}},
)  # fmt: skip
CHECKPOINTS = st.one_of(  # of a run: none, a good one, a damaged one, of something else, of nothing that could be
    st.none(),
    st.sampled_from(OTHERS).map(resumable),
    files.damaged(resumable(RESUMABLE)),
    files.safetensors(STATE, VERSION_AND_OTHERS),
    files.descriptions(RESUMABLE).map(resumable),
    files.descriptions(RESUMABLE["config"]).map(lambda config: resumable(RESUMABLE | {"config": config})),
)


def described(**header):
    """A safetensors file with this header, and nothing behind it, and its name."""
    text = json.dumps(header).encode()
    return "w.safetensors", struct.pack("<Q", len(text)) + text


READERS = {
    "IDX files of MNIST": Reader(read_idx, files.idx(), {"gpucnn/data/mnist.py": ("read_idx",)}),
    "archives of CIFAR-10": Reader(
        read_batches,
        files.batches(),
        {
            "gpucnn/data/files.py": ("read_members", "_read_file", "_check_size", "_Bounded.read", "_Bounded.__init__"),
            "gpucnn/data/cifar10.py": ("load", "_batches", "_parse_binary"),
        },
        {
            "a file of a zettabyte, behind which the next one was looked for": unending("somewhere/x", tarfile.REGTYPE),
            "the same with holes in it": unending(files.PYTHON[2], tarfile.GNUTYPE_SPARSE),
        },
    ),
    "pickles of CIFAR-10": Reader(
        read_pickle,
        files.pickles(),
        {"gpucnn/data/cifar10.py": ("_parse_python", "_check_instructions", "_Unpickler.find_class", "_byte_dtype")},
        {
            "a memo of 8 GB": b"\x80\x02}r\xff\xff\xff\x3f.",
            "a tuple in a million others as a key, which ended Python": b"\x80\x02})" + b"\x85" * 1_000_000 + b"K\0s.",
        },
    ),
    "pictures": Reader(
        read_picture,
        st.tuples(files.images(), st.sampled_from((255, 16))),
        {"gpucnn/data/folder.py": ("read_image", "_read_file")},
    ),
    "folders of pictures": Reader(read_tree, files.trees(), {"gpucnn/data/folder.py": ("load", "_read", "_share")}),
    "weights in safetensors": Reader(
        read_weights,
        st.tuples(st.sampled_from(("w.safetensors", "w.pth")), files.safetensors(STATE, VERSION_AND_OTHERS)),
        {"gpucnn/checkpoint.py": ("load_weights", "load_state", "read_tensors", "_unreadable")},
        {
            "a description of 100,000 lists in lists": described(__metadata__={"gpucnn": "[" * 100_000}),
            "a dtype that NumPy has not": described(x={"dtype": "F8_E4M3", "shape": [0], "data_offsets": [0, 0]}),
        },
    ),
    "state dicts for --weights": Reader(
        read_state,
        st.tuples(st.none() | files.safetensors(STATE, st.sampled_from(({}, {"format": "pt"}))), st.booleans()),
        {"gpucnn/cli/weights.py": ("start_from", "_shapes", "heads_of"), "gpucnn/checkpoint.py": ("read_tensors",)},
    ),
    "descriptions of runs": Reader(
        read_run,
        files.descriptions(RUN),
        {
            "gpucnn/cli/run_folder.py": ("restore",),
            "gpucnn/cli/description.py": ("check_description", "_numbers"),
        },
        {
            "a perceptron of a gigabyte": RUN
            | {"model": "mlp", "input_shape": [1, 700, 700], "image_size": [700, 700]},
            "a mean of 400 digits": RUN | {"mean": [10**400]},
            "pictures of ten gigapixels": RUN | {"image_size": [100_000, 100_000]},
            "a white that is a text": RUN | {"white": "no"},
        },
    ),
    "runs to resume": Reader(
        read_resumed,
        st.tuples(
            st.fixed_dictionaries({WEIGHTS: CHECKPOINTS, PREVIOUS: CHECKPOINTS}),
            st.integers(0, 3).flatmap(lambda die: st.just(RESUME) if die else st.sampled_from(WORDS)),
        ),
        {
            "gpucnn/cli/resume.py": (
                "read_run",
                "_newest",
                "_training",
                "position_of",
                "Resumed.refuse_others",
                "Resumed.load_into",
            ),
            "gpucnn/cli/run_folder.py": ("RunFolder.open", "RunFolder.newest"),
            "gpucnn/cli/config.py": ("flag_values", "_type_of"),
        },
        {
            "an epoch beyond all numbers": alone(RESUMABLE | {"epoch": 1e999}),
            "an epoch before the first": alone(RESUMABLE | {"epoch": -1}),
            "a loss of 400 digits": alone(RESUMABLE | {"sums": [10**400, 0]}),
            "classes that are a number": alone(RESUMABLE | {"classes": 3}),
            "a configuration without flags": alone(RESUMABLE | {"config": {}}),
        },
    ),
    "metrics of runs": Reader(
        read_rows,
        st.tuples(files.rows(EPOCHS), st.sampled_from((0, 1, 2, 2, 2, 2, 2, 1 << 31, None))),
        {"gpucnn/cli/run_folder.py": ("read_metrics", "_epoch", "RunFolder.metrics_until")},
        {
            "100,000 lists in lists": (b"[" * 100_000, 1),
            "a loss that is a text": (json.dumps(EPOCHS[0] | {"train_loss": "no"}).encode(), 1),
            "a loss of 400 digits": (json.dumps(EPOCHS[0] | {"train_loss": 10**400}).encode(), 1),
            "fewer epochs than are done": (json.dumps(EPOCHS[0]).encode(), 1 << 31),
        },
    ),
    "reports of nsys": Reader(
        read_recorded,
        st.tuples(files.reports(REPORTS), st.none() | st.just(json.dumps(FACTS).encode()) | files.answers(FACTS)),
        {
            "gpucnn/measure/nsys.py": (
                "base_of",
                "exported",
                "profile",
                "_owners",
                "table",
                "_head",
                "_rows",
                "_number",
                "short",
            ),
            "gpucnn/cli/profile.py": ("_read",),
            "gpucnn/cli/figures.py": ("read_figures", "are_costs"),
        },
        {
            "a cell of 200,000 characters": ({**REPORTS, nsys.KERNELS: b"x" * 200_000}, None),
            "a time that is infinite": (
                {**REPORTS, nsys.KERNELS: REPORTS[nsys.KERNELS].replace(b"25,000", b"inf")},
                None,
            ),
            "other JSON beside it": (REPORTS, b'{"roofs": 3}'),
            "infinity, where nobody looks": (REPORTS, json.dumps(FACTS | {"another": float("inf")}).encode()),
        },
    ),
    "figures in JSON": Reader(
        read_roofline,
        files.answers(FIGURES),
        {"gpucnn/cli/figures.py": ("read_figures", "are_rows", "_is_row", "_are_roofs")},
        {
            "a rate that is a text": json.dumps(FIGURES | {"rows": [PASS | {"gflops": "1"}]}).encode(),
            "roofs of nothing": json.dumps(FIGURES | {"roofs": {"gflops": 0, "gbs": 0}}).encode(),
            "100,000 lists in lists": b"[" * 100_000,
        },
    ),
    "configurations in TOML": Reader(
        read_config,
        files.tables(),
        {"gpucnn/cli/config.py": ("_read", "flag_values", "_type_of")},
        {
            "a rate of 40,000 bits": b"lr = 0x" + b"f" * 9999,
            "a number of 5,000 digits": b"epochs = " + b"9" * 5000,
            "a number of 40,000 bits in a list": b"nesterov = [0x" + b"f" * 9999 + b"]",
            "5,000 lists in lists": b"epochs = " + b"[" * 5000,
            "keys of 5,000 parts": (b".".join([b"a"] * 5000) + b" = 1\n") * 6,
        },
    ),
    "kernels in CUDA C": Reader(
        read_kernels,
        st.tuples(st.sampled_from((*["conv2d"] * 20, "maxpool2d", "relu")), files.sources(TOKENS)),
        {
            "kernels/own.py": ("OwnKernels.__init__", "OwnKernels._check", "evaluate", "_value", "_launch_comment"),
            "kernels/launch.py": ("signatures", "_c_parameter"),
        },
        {"a parameter of 5,000 digits": ("conv2d", KERNEL + b"(" + b"9" * 5000 + b") {}")},
    ),
}
