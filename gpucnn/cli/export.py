"""`gpucnn export`: a trained model for other programs."""

import json
from pathlib import Path

import click

from ..backend import Device
from ..checkpoint import write_atomic
from ..errors import GpucnnError, UsageError
from ..export import CLOSE, OPSET, difference, to_onnx, to_safetensors
from .options import json_option
from .output import Output, short
from .run_folder import restore


@click.command(short_help="Write a trained model as ONNX or as a plain state dict.")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--overwrite", is_flag=True, help="Replace OUT where it exists.")
@json_option
def export(run: Path, out: Path, overwrite: bool, as_json: bool) -> None:
    """Write the model in RUN (a run folder or a .safetensors file) to OUT.

    OUT.onnx takes normalised images (batch, c, h, w) and gives logits; mean, std and classes are among its properties,
    and onnxruntime has computed the same with it. OUT.safetensors is the state dict alone, with PyTorch's keys.
    """
    output = Output(as_json)
    if out.suffix not in (".onnx", ".safetensors"):
        raise UsageError(f"{out} has no ending that says what to write", "name it .onnx or .safetensors")
    if out.exists() and not overwrite:
        raise UsageError(f"{out} exists already", "choose another name, or replace it: --overwrite")
    model, meta = restore(run, Device("cpu", kernels="xp"))
    result = {"file": str(out), "model": meta["model"], "input_shape": meta["input_shape"]}
    if out.suffix == ".safetensors":
        content = to_safetensors(model)
    else:
        properties = {name: json.dumps(meta[name]) for name in ("model", "classes", "mean", "std", "epoch")}
        shape = tuple(meta["input_shape"])
        content = to_onnx(model, shape, properties)
        result |= {"opset": OPSET, "difference": (worst := difference(content, model, shape))}
        if not worst <= CLOSE:
            raise GpucnnError(f"onnxruntime's logits differ by {worst:.1e}", "report this: nothing was written")
        output.say(f"onnxruntime's logits differ by at most {worst:.1e} of the largest, or of 1")
    write_atomic(out, content)
    output.say(f"{meta['model']} after epoch {meta['epoch']} is in {short(out)} ({len(content):,} bytes)")
    output.result(result)
    output.next("eval", short(run))
