"""`gpucnn train`: from flags to a trained model in a run folder."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from ..memory import enough_memory
from ..parallel import connect
from .config import RECIPES, read_config, read_recipe
from .options import Finite, data_options, device_options, json_option, threads_option
from .output import Output
from .ranks import distributed_option, first_speaks, follow
from .recipe import with_recipe
from .resume import RESUMED, read_run
from .run import Run
from .run_folder import RunFolder, require_free


@click.command(short_help="Train a model.")
@click.option("--config", type=click.Path(path_type=Path), is_eager=True, expose_value=False, callback=read_config,
              help="A TOML file with any of these flags.")  # fmt: skip
@click.option("--recipe", type=click.Choice(list(RECIPES)), is_eager=True, expose_value=False, callback=read_recipe,
              help="Flags that go together: fast is alexnet-lite on cifar10, in batches for a GPU.")  # fmt: skip
@click.option("--resume", type=click.Path(path_type=Path), is_eager=True, expose_value=False, callback=read_run,
              metavar="RUN", help="Go on with the run in this folder, to the same bits.")  # fmt: skip
@click.option("--model", default="lenet", show_default=True, help="The architecture: see gpucnn summary.")
@click.option("--weights", type=click.Path(path_type=Path),
              help="Begin with the weights of a .safetensors file or a run folder.")  # fmt: skip
@click.option(
    "--reset-head", is_flag=True, help="Of --weights, leave out the layers that give the classes: for other ones."
)
@data_options
@device_options
@threads_option
@distributed_option
@click.option("--graph/--no-graph", default=True,
              help="Record the kernels of a step and repeat them without Python.  [default: graph]")  # fmt: skip
@click.option("--epochs", type=click.IntRange(1), default=10, show_default=True)
@click.option("-b", "--batch-size", type=click.IntRange(1), default=128, show_default=True)
@click.option("--optimizer", type=click.Choice(["sgd", "adam", "adamw"]), default="sgd", show_default=True)
@click.option("--lr", type=Finite(0, min_open=True), default=0.05, show_default=True, help="Top learning rate.")
@click.option("--momentum", type=Finite(0, 1, max_open=True), default=0.9, show_default=True, help="Of SGD.")
@click.option("--nesterov/--no-nesterov", default=False, help="Nesterov's momentum in SGD.")
@click.option("--wd", "--weight-decay", "weight_decay", type=Finite(0), default=5e-4, show_default=True)
@click.option("--clip-grad-norm", type=Finite(0, min_open=True), help="Scale gradients down to this norm.")
@click.option("--lr-scheduler", type=click.Choice(["one-cycle", "cosine", "step", "constant"]),
              default="one-cycle", show_default=True,
              help="one-cycle: in 20 % of the steps from lr/10 to lr, then down to lr/1000.")  # fmt: skip
@click.option("--lr-step-size", type=click.IntRange(1), default=30, show_default=True, help="Epochs a step, for step.")
@click.option("--lr-gamma", type=Finite(0), default=0.1, show_default=True, help="Factor a step, for step.")
@click.option(
    "--lr-warmup-epochs", type=click.IntRange(0), default=0, show_default=True, help="Linear, before the rest."
)
@click.option("--label-smoothing", type=Finite(0, 1), default=0.0, show_default=True)
@click.option("--augment", default=None, metavar="NAMES",
              help="Of crop,flip,cutout; or none.  [default: crop,flip on cifar10, crop on digits]")  # fmt: skip
@click.option("--seed", type=click.IntRange(0, 2**64 - 1), default=0, show_default=True)
@click.option("--output-dir", type=click.Path(path_type=Path), help="The run folder.  [default: runs/<time>-<model>]")
@click.option("--overwrite", is_flag=True, help="Write into an --output-dir that holds files already.")
@click.option("--checkpoint-steps", type=click.IntRange(1), metavar="N",
              help="Save after every N steps, too, not just after each epoch.")  # fmt: skip
@click.option("--checkpoint-minutes", type=Finite(0, min_open=True), metavar="M", default=10.0, show_default=True,
              help="Save after so many minutes, too.")  # fmt: skip
@click.option("--limit-batches", type=click.IntRange(1), help="At most so many batches an epoch, to train and to test.")
@click.option("--dry-run", is_flag=True, help="One step and one test batch, nothing written.")
@json_option
@click.pass_context
def train(context: click.Context, **flags: Any) -> None:
    """Train a model; by default lenet on cifar10, on a GPU where there is one.

    Without the data and a network: gpucnn train --dataset digits
    """
    flags = with_recipe(context, flags)
    resumed = context.meta.get(RESUMED)
    if resumed:
        resumed.refuse_others(context, flags)
    output = Output(flags.pop("as_json"))
    ranks = connect(flags["distributed"])
    with first_speaks(ranks):
        if not (resumed or flags["dry_run"] or ranks.rank):
            require_free(flags["output_dir"], flags["overwrite"])  # before anything is loaded or compiled
        run = Run(flags, output, resumed, ranks)
        if flags["dry_run"]:
            run.dry()
            output.next(*[word for word in context.find_root().obj if word != "--dry-run"])
        elif ranks.rank:
            with enough_memory(run.model, run.train_batches):
                follow(ranks, partial(run.epochs, flags["epochs"], flags["limit_batches"]))
        else:
            folder = resumed and resumed.folder
            if not folder:
                folder = RunFolder.create(flags["output_dir"], flags["model"], flags["overwrite"])
                context.call_on_close(folder.close)
            run.train(folder)
