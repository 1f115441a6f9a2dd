"""From flags to an optimizer and a schedule, with the defaults that a data set and a model bring."""

from typing import Any

import click

from ..errors import UsageError
from ..module import Module
from ..optim import SGD, Adam, AdamW, Optimizer, Schedule, constant, cosine, one_cycle, step_decay, warm_up

# What a data set changes in the defaults, and then a model; flags and --config still win.
OF_DATA: dict[str, dict[str, Any]] = {
    "digits": {"epochs": 20, "batch_size": 64, "augment": "crop"},
    "mnist": {"epochs": 5},
    "tinydigits": {
        "model": "tinydigits-cnn",
        "epochs": 50,
        "batch_size": 32,
        "lr": 0.01,
        "momentum": 0.0,
        "weight_decay": 0.0,
        "lr_scheduler": "constant",
    },
}
_DEEP = {"lr": 0.1}  # batch normalisation lets steps be long
OF_MODEL: dict[str, dict[str, Any]] = {
    "lenet-1998": {"dataset": "mnist"},
    "alexnet-lite": {"lr": 0.02},
    "vgg-lite": {"optimizer": "adam", "lr": 1e-3, "weight_decay": 0.0},  # SGD stays at chance for too long
    "googlenet-lite": _DEEP,
    "googlenet-lite-aux": _DEEP,
    "resnet20": _DEEP,
    "resnet56": _DEEP,
    "resnet110": _DEEP,
    "plain20": _DEEP,
    "plain56": _DEEP,
    "densenet-lite": _DEEP,
    "vit-tiny": {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 0.05, "epochs": 20},
    "mnist-cnn": {
        "dataset": "mnist",
        "optimizer": "adam",
        "lr": 1e-3,
        "weight_decay": 0.0,
        "lr_scheduler": "constant",
        "batch_size": 100,
    },
    "tinytorch-cifar": {"optimizer": "adam", "lr": 1e-3, "weight_decay": 0.0, "epochs": 5},
    "tinydigits-cnn": {"dataset": "tinydigits"},
    "tinydigits-mlp": {"dataset": "tinydigits"},
}


def with_recipe(context: click.Context, flags: dict[str, Any]) -> dict[str, Any]:
    """The flags, with the recipes of the data set and of the model in place of defaults that nobody gave."""
    default = click.core.ParameterSource.DEFAULT

    def free(recipe: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in recipe.items() if context.get_parameter_source(name) is default}

    of_model = free(OF_MODEL.get(flags["model"], {}))
    dataset = of_model.get("dataset", flags["dataset"])
    return flags | free(OF_DATA.get(dataset, {})) | of_model


def make_optimizer(model: Module, flags: dict[str, Any]) -> Optimizer:
    """The optimizer of --optimizer with its flags."""
    optimizer = _optimizer(model, flags)
    optimizer.max_norm = flags["clip_grad_norm"]
    return optimizer


def _optimizer(model: Module, flags: dict[str, Any]) -> Optimizer:
    named, lr, decay = model.named_parameters(), flags["lr"], flags["weight_decay"]
    if flags["optimizer"] == "sgd":
        if flags["nesterov"] and not flags["momentum"]:
            raise UsageError("--nesterov needs a momentum", "add --momentum 0.9")
        return SGD(named, lr, flags["momentum"], weight_decay=decay, nesterov=flags["nesterov"])
    return {"adam": Adam, "adamw": AdamW}[flags["optimizer"]](named, lr, weight_decay=decay)


def make_schedule(flags: dict[str, Any], steps: int) -> Schedule:
    """The schedule of --lr-scheduler over `steps` steps an epoch, after the warm-up."""
    warm = flags["lr_warmup_epochs"] * steps
    rest = flags["epochs"] * steps - warm
    if rest < 1:
        raise UsageError("--lr-warmup-epochs takes all of --epochs", "warm up for fewer epochs")
    schedules = {
        "one-cycle": lambda: one_cycle(rest),
        "cosine": lambda: cosine(rest),
        "step": lambda: step_decay(flags["lr_step_size"] * steps, flags["lr_gamma"]),
        "constant": constant,
    }
    then = schedules[flags["lr_scheduler"]]()
    return warm_up(warm, then) if warm else then
