"""The models once more, written down from their papers with PyTorch's layers: what those of gpucnn are compared with.

Layers come in the order of the state dicts of gpucnn, so that weights are handed over by their place.
"""

from itertools import pairwise

import pytest

torch = pytest.importorskip("torch", reason="no torch: make setup EXTRAS=oracle")
nn = torch.nn


def conv(ci, co, size, stride=1, padding=0, groups=1):
    return [nn.Conv2d(ci, co, size, stride, padding, groups=groups), nn.ReLU()]


def conv_bn(ci, co, size, stride=1):
    return [nn.Conv2d(ci, co, size, stride, size // 2, bias=False), nn.BatchNorm2d(co), nn.ReLU()]


def perceptron(*sizes, activation=nn.ReLU):
    layers = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), activation()]
    return layers[:-1]


def lenet(ci, activation=nn.ReLU, pool=nn.MaxPool2d):
    first, second = nn.Conv2d(ci, 6, 5), nn.Conv2d(6, 16, 5)
    head = perceptron(400, 120, 84, 10, activation=activation)
    return nn.Sequential(first, activation(), pool(2), second, activation(), pool(2), nn.Flatten(), *head)


def alexnet(groups):
    norm = {"size": 5, "alpha": 5e-4, "beta": 0.75, "k": 2.0}
    return nn.Sequential(
        *conv(3, 96, 11, 4), nn.LocalResponseNorm(**norm), nn.MaxPool2d(3, 2),
        *conv(96, 256, 5, 1, 2, groups), nn.LocalResponseNorm(**norm), nn.MaxPool2d(3, 2),
        *conv(256, 384, 3, 1, 1), *conv(384, 384, 3, 1, 1, groups), *conv(384, 256, 3, 1, 1, groups),
        nn.MaxPool2d(3, 2),
        nn.Flatten(), *perceptron(9216, 4096, 4096, 1000),
    )  # fmt: skip


def stacks(*widths, head):
    """ "M" is a pool, a number a 3x3 convolution with so many outputs."""
    layers, ci = [], 3
    for width in widths:
        layers += [nn.MaxPool2d(2)] if width == "M" else conv(ci, width, 3, 1, 1)
        ci = ci if width == "M" else width
    return nn.Sequential(*layers, nn.Flatten(), *head)


def vgg(deep):
    a, b, c = ([width] * (4 if deep else 3) for width in (256, 512, 512))
    head = perceptron(512 * 49, 4096, 4096, 1000)
    return stacks(64, 64, "M", 128, 128, "M", *a, "M", *b, "M", *c, "M", head=head)


class Inception(nn.Module):
    def __init__(self, ci, c1, r3, c3, r5, c5, cp, conv):
        super().__init__()
        self.branches = nn.ModuleList([
            nn.Sequential(*conv(ci, c1, 1)),
            nn.Sequential(*conv(ci, r3, 1), *conv(r3, c3, 3)),
            nn.Sequential(*conv(ci, r5, 1), *conv(r5, c5, 5)),
            nn.Sequential(nn.MaxPool2d(3, 1, 1), *conv(ci, cp, 1)),
        ])  # fmt: skip

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.branches], 1)


class GoogLeNet(nn.Module):
    def __init__(self, stem, conv, divisor, classes, auxiliary=False):
        super().__init__()
        pool, d = nn.MaxPool2d(3, 2, 1), divisor

        def module(*sizes):
            return Inception(*(size // d for size in sizes), conv)

        def aux(ci):
            pooled = 16 if divisor == 1 else 4
            head = perceptron(128 // d * pooled, 1024 // d, classes)
            return nn.Sequential(nn.AvgPool2d(5, 3), *conv(ci // d, 128 // d, 1), nn.Flatten(), *head)

        self.a = nn.Sequential(
            *stem, module(192, 64, 96, 128, 16, 32, 32), module(256, 128, 128, 192, 32, 96, 64), pool,
            module(480, 192, 96, 208, 16, 48, 64),
        )  # fmt: skip
        self.aux1 = aux(512) if auxiliary else None
        self.b = nn.Sequential(
            module(512, 160, 112, 224, 24, 64, 64), module(512, 128, 128, 256, 24, 64, 64),
            module(512, 112, 144, 288, 32, 64, 64),
        )  # fmt: skip
        self.aux2 = aux(528) if auxiliary else None
        self.c = nn.Sequential(
            module(528, 256, 160, 320, 32, 128, 128), pool, module(832, 256, 160, 320, 32, 128, 128),
            module(832, 384, 192, 384, 48, 128, 128), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(1024 // d, classes),
        )  # fmt: skip

    def forward(self, x):
        a = self.a(x)
        b = self.b(a)
        return self.c(b) if self.aux1 is None or not self.training else (self.c(b), self.aux1(a), self.aux2(b))


def googlenet():
    def padded(ci, co, size):
        return conv(ci, co, size, 1, size // 2)

    norm, pool = nn.LocalResponseNorm(5), nn.MaxPool2d(3, 2, 1)
    return GoogLeNet(
        [*conv(3, 64, 7, 2, 3), pool, norm, *padded(64, 64, 1), *padded(64, 192, 3), norm, pool], padded, 1, 1000
    )


def googlenet_lite(auxiliary):
    return GoogLeNet([*conv_bn(3, 48, 3), nn.MaxPool2d(3, 2, 1)], conv_bn, 4, 10, auxiliary)


class Block(nn.Module):
    def __init__(self, ci, co, residual):
        super().__init__()
        self.body = nn.Sequential(*conv_bn(ci, co, 3, co // ci), *conv_bn(co, co, 3)[:2])
        self.more, self.residual = co - ci, residual

    def forward(self, x):
        y = self.body(x)
        if self.residual:
            zeros = torch.zeros(len(x), self.more, *y.shape[2:], dtype=x.dtype)
            y = y + torch.cat([x[:, :, ::2, ::2] if self.more else x, zeros], 1)
        return torch.relu(y)


def resnet(depth, residual=True):
    n = (depth - 2) // 6
    widths = [16] * (n + 1) + [32] * n + [64] * n
    blocks = [Block(ci, co, residual) for ci, co in pairwise(widths)]
    return nn.Sequential(*conv_bn(3, 16, 3), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


class Dense(nn.Sequential):
    def forward(self, x):
        return torch.cat([x, super().forward(x)], 1)


def densenet():
    def bn_relu_conv(ci, co, size):
        return [nn.BatchNorm2d(ci), nn.ReLU(), nn.Conv2d(ci, co, size, padding=size // 2, bias=False)]

    layers, c = [nn.Conv2d(3, 16, 3, padding=1, bias=False)], 16
    for block in range(3):
        for _ in range(6):
            layers.append(Dense(*bn_relu_conv(c, 12, 3)))
            c += 12
        layers += [*bn_relu_conv(c, c, 1), nn.AvgPool2d(2)] if block < 2 else [nn.BatchNorm2d(c), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, 10))


class ViT(nn.Module):
    def __init__(self):
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(1, 64, 128))
        self.patches = nn.Conv2d(3, 128, 4, 4)
        how = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
        self.blocks = nn.Sequential(*(nn.TransformerEncoderLayer(128, 4, 256, **how) for _ in range(6)))
        self.norm, self.head = nn.LayerNorm(128), nn.Linear(128, 10)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.norm(self.blocks(x)).mean(1))


def simplecnn():
    first, second, third = conv(3, 32, 3, 1, 1), conv(32, 64, 3, 1, 1), conv(64, 128, 3, 1, 1)
    tail = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10)
    return nn.Sequential(*first, nn.MaxPool2d(2), *second, nn.MaxPool2d(2), *third, *tail)


def mnist_cnn():
    layers = nn.Conv2d(1, 10, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(10, 20, 5), nn.MaxPool2d(2), nn.ReLU()
    return nn.Sequential(*layers, nn.Flatten(), *perceptron(320, 50, 10))


def tinytorch_cifar():
    def stage(ci, co):
        return [nn.Conv2d(ci, co, 3), nn.BatchNorm2d(co), nn.ReLU(), nn.MaxPool2d(2)]

    return nn.Sequential(*stage(3, 32), *stage(32, 64), nn.Flatten(), *perceptron(2304, 256, 10))


def small(ci, size, *hidden):
    return nn.Sequential(nn.Flatten(), *perceptron(ci * size**2, *hidden, 10))


TWINS = {
    "lenet": lambda: lenet(3),
    "lenet-1998": lambda: lenet(1, nn.Tanh, nn.AvgPool2d),
    "alexnet": lambda: alexnet(1),
    "alexnet-grouped": lambda: alexnet(2),
    "alexnet-lite": lambda: stacks(64, "M", 128, "M", 256, 256, 128, "M", head=perceptron(2048, 512, 10)),
    "vgg16": lambda: vgg(False),
    "vgg19": lambda: vgg(True),
    "vgg-lite": lambda: stacks(32, 32, "M", 64, 64, "M", 128, 128, "M", head=perceptron(2048, 256, 10)),
    "googlenet": googlenet,
    "googlenet-lite": lambda: googlenet_lite(False),
    "googlenet-lite-aux": lambda: googlenet_lite(True),
    "resnet20": lambda: resnet(20),
    "resnet56": lambda: resnet(56),
    "resnet110": lambda: resnet(110),
    "plain20": lambda: resnet(20, False),
    "plain56": lambda: resnet(56, False),
    "densenet-lite": densenet,
    "vit-tiny": ViT,
    "simplecnn": simplecnn,
    "mnist-cnn": mnist_cnn,
    "tinytorch-cifar": tinytorch_cifar,
    "mlp": lambda: small(3, 32, 512, 256),
    "linear": lambda: small(3, 32),
    "tinydigits-cnn": lambda: nn.Sequential(*conv(1, 8, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 10)),
    "tinydigits-mlp": lambda: small(1, 8, 32),
}


def twin(name, model):
    """The network `name` in PyTorch, without its dropouts, with copies of the weights of `model`."""
    with torch.device("meta"):
        other = TWINS[name]()
    ours = {key: tensor.data for key, tensor in model.named_tensors()}
    theirs = other.state_dict()
    assert [array.shape for array in ours.values()] == [tuple(value.shape) for value in theirs.values()]
    copies = {key: torch.from_numpy(array.copy()) for key, array in zip(theirs, ours.values(), strict=True)}
    other.load_state_dict(copies, assign=True)
    return other
