"""The defaults that a data set and a model bring."""

import pytest

from gpucnn.cli.recipe import OF_DATA, OF_MODEL, with_recipe
from gpucnn.cli.train import train
from gpucnn.data import DATASETS
from gpucnn.models import MODELS


@pytest.mark.parametrize(
    "line, expected",
    [
        ("--model mnist-cnn", {"dataset": "mnist", "optimizer": "adam", "batch_size": 100, "epochs": 5, "lr": 1e-3}),
        ("--model mnist-cnn --lr 0.1 --dataset digits", {"dataset": "digits", "lr": 0.1, "epochs": 20}),
        ("--model resnet20 --dataset digits", {"lr": 0.1, "batch_size": 64}),
        ("--model tinydigits-mlp", {"dataset": "tinydigits", "model": "tinydigits-mlp", "lr": 0.01, "epochs": 50}),
        ("--dataset tinydigits --epochs 3", {"model": "tinydigits-cnn", "epochs": 3}),
        ("--model lenet", {"dataset": "cifar10", "lr": 0.05}),
    ],
)
def test_the_recipe_of_a_model_goes_over_that_of_its_data_set(line, expected):
    context = train.make_context("train", line.split())
    flags = with_recipe(context, context.params)
    assert {name: flags[name] for name in expected} == expected


def test_the_recipes_are_of_models_and_data_sets():
    names = {parameter.name for parameter in train.params}
    assert OF_MODEL.keys() <= MODELS.keys() and OF_DATA.keys() <= DATASETS.keys()
    assert all(recipe.keys() <= names for recipe in (*OF_MODEL.values(), *OF_DATA.values()))
