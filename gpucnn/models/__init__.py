"""The architectures, one file a family: `MODELS[name](input_shape, num_classes)`."""

from ..errors import nearest
from .alexnet import AlexNet, AlexNetGrouped, AlexNetLite
from .densenet import DenseNetLite
from .googlenet import GoogLeNet, GoogLeNetLite, GoogLeNetLiteAux
from .lenet import LeNet, LeNet1998
from .mlp import MLP, LinearModel
from .model import Model
from .resnet import Plain20, Plain56, ResNet20, ResNet56, ResNet110
from .simplecnn import SimpleCNN
from .tinydigits import TinyDigitsCNN, TinyDigitsMLP
from .tutorial import MnistCNN, TinyTorchCifar
from .vgg import VGG16, VGG19, VGGLite
from .vit import ViTTiny

MODELS: dict[str, type[Model]] = {
    "lenet": LeNet,
    "lenet-1998": LeNet1998,
    "alexnet": AlexNet,
    "alexnet-grouped": AlexNetGrouped,
    "alexnet-lite": AlexNetLite,
    "vgg16": VGG16,
    "vgg19": VGG19,
    "vgg-lite": VGGLite,
    "googlenet": GoogLeNet,
    "googlenet-lite": GoogLeNetLite,
    "googlenet-lite-aux": GoogLeNetLiteAux,
    "resnet20": ResNet20,
    "resnet56": ResNet56,
    "resnet110": ResNet110,
    "plain20": Plain20,
    "plain56": Plain56,
    "densenet-lite": DenseNetLite,
    "vit-tiny": ViTTiny,
    "simplecnn": SimpleCNN,
    "mnist-cnn": MnistCNN,
    "tinytorch-cifar": TinyTorchCifar,
    "mlp": MLP,
    "linear": LinearModel,
    "tinydigits-cnn": TinyDigitsCNN,
    "tinydigits-mlp": TinyDigitsMLP,
}


def model_class(name: str) -> type[Model]:
    """The class behind a name of MODELS; UsageError with the nearest name for an unknown one."""
    if name not in MODELS:
        raise nearest("model", name, MODELS)
    return MODELS[name]
