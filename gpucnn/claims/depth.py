"""Depth, what makes it trainable, and what does without convolution."""

from .claim import Above, Claim

AUXILIARY = Claim(
    "auxiliary-classifiers",
    "Classifiers on layers half way, which training alone has, make the network more accurate, by about half a point.",
    "Szegedy et al. 2014, Going deeper with convolutions (arXiv:1409.4842), section 5",
    "--dataset cifar10 --epochs 4 --batch-size 64 --lr 0.1",
    {"auxiliary": "--model googlenet-lite-aux", "without": "--model googlenet-lite"},
    [Above("auxiliary", "without", 0.005)],
    images=(2_500, 1_000),
)

TRANSFORMER = Claim(
    "vit-vs-cnn",
    "On few images a vision transformer stays behind a CNN of its size: it has to learn what convolution begins with.",
    "Dosovitskiy et al. 2020, An image is worth 16x16 words (arXiv:2010.11929), section 4.3",
    "--dataset cifar10 --epochs 5 --batch-size 64",
    {"cnn": "--model tinytorch-cifar", "vit": "--model vit-tiny"},
    [Above("cnn", "vit", 0.05)],
    images=(750, 500),
)

DEGRADATION = Claim(
    "degradation",
    "A plain network of 56 layers has a higher training loss than one of 20, which with shortcuts it has not.",
    "He, Zhang, Ren and Sun 2015, Deep residual learning for image recognition (arXiv:1512.03385), figures 1 and 6",
    "--dataset cifar10 --epochs 10 --batch-size 64 --lr 0.1",
    {name: f"--model {name}" for name in ("plain20", "plain56", "resnet20", "resnet56")},
    [
        Above("plain56", "plain20", 0.1, "train_loss"),
        Above("resnet20", "resnet56", -0.05, "train_loss"),
    ],
    images=(1_280, 200),
)
