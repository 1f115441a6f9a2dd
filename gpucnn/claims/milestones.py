"""Accuracies that papers and courses name for a network and a data set."""

from .. import functional as F
from ..models.tutorial import MnistCNN
from ..tensor import Tensor
from .claim import Above, Claim, Within

LENET_DIGITS = Claim(
    "lenet-digits",
    "LeNet reads at least 97 % of the handwritten digits that come with the package.",
    "gpucnn, for `make train`",
    "--dataset digits --model lenet",
    {"lenet": ""},
    [Within("lenet", 0.97)],
    seeds=3,
)

LENET_MNIST = Claim(
    "lenet-mnist",
    "LeNet reads at least 98.9 % of MNIST's digits.",
    "LeCun et al. 1998, Gradient-based learning applied to document recognition: 99.05 % without distortions",
    "--dataset mnist --model lenet --epochs 5",
    {"lenet": ""},
    [Within("lenet", 0.989)],
)


class SoftmaxBeforeLoss(MnistCNN):
    """Its output is the softmax of its logits, as in tutorials, and cross entropy takes the softmax of that."""

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        assert isinstance(logits, Tensor)
        return F.softmax(logits)


MNIST_CNN = Claim(
    "mnist-cnn-softmax",
    "Two convolutions, Adam at 1e-3 and batches of 100 read 98 % of MNIST after 5 epochs; a softmax in front of the "
    "cross entropy, which has one inside, costs accuracy.",
    "PyTorch's first example for MNIST, and the tutorials that put a softmax behind its last layer",
    "--dataset mnist --optimizer adam --lr 1e-3 --weight-decay 0 --lr-scheduler constant --batch-size 100 --epochs 5",
    {"logits": "--model mnist-cnn", "softmax": SoftmaxBeforeLoss},
    [Within("logits", 0.98), Above("logits", "softmax", 0.005)],
)

MLP_CIFAR10 = Claim(
    "mlp-cifar10",
    "A fully connected network comes to about 50 % on CIFAR-10.",
    "Stanford CS231n, assignment 1, where 52 % serve as a reference",
    "--dataset cifar10 --model mlp --epochs 5 --augment none",
    {"mlp": ""},
    [Within("mlp", 0.46, 0.56)],
)

LENET_CIFAR10 = Claim(
    "lenet-cifar10",
    "LeNet with ReLU and max pooling comes to 64 % on CIFAR-10 in 10 epochs, as it does in PyTorch.",
    "gpucnn: with PyTorch 62.7 % to 65.8 %, over recipes and seeds",
    "--dataset cifar10 --model lenet --epochs 10",
    {"lenet": ""},
    [Within("lenet", 0.64)],
)

TINYTORCH_CIFAR10 = Claim(
    "tinytorch-cifar10",
    "Two convolutions with batch normalisation come to 65 to 68 % on CIFAR-10 in 3 to 5 epochs.",
    "Reddi et al., TinyTorch (cs249r_book), milestone of 1998: its CNN, trained with PyTorch",
    "--dataset cifar10 --model tinytorch-cifar --epochs 4 --augment none",
    {"tinytorch-cifar": ""},
    [Within("tinytorch-cifar", 0.65)],
)

SIMPLECNN_CIFAR10 = Claim(
    "simplecnn-cifar10",
    "A CNN of three convolutions and fewer than 100,000 parameters comes to 65 to 75 % on CIFAR-10.",
    "Reddi et al., TinyTorch (cs249r_book), the aim of its milestone of 1998",
    "--dataset cifar10 --model simplecnn --epochs 8",
    {"simplecnn": ""},
    [Within("simplecnn", 0.65, 0.75)],
    seeds=1,
)

ALEXNET_CIFAR10 = Claim(
    "alexnet-lite-cifar10",
    "Five convolutions, with dropout and augmentation, come to 75 % and more on CIFAR-10.",
    "Reddi et al., TinyTorch (cs249r_book), the aim of its course; the network is after Krizhevsky et al. 2012",
    "--dataset cifar10 --model alexnet-lite --epochs 6",
    {"alexnet-lite": ""},
    [Within("alexnet-lite", 0.75)],
    seeds=1,
)
