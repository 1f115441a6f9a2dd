"""The architectures, one file a family: `MODELS[name](input_shape, num_classes)`."""

from ..errors import nearest
from .alexnet import AlexNetLite
from .lenet import LeNet, LeNet1998
from .mlp import MLP, LinearModel
from .model import Model
from .tinydigits import TinyDigitsCNN, TinyDigitsMLP

MODELS: dict[str, type[Model]] = {
    "lenet": LeNet,
    "lenet-1998": LeNet1998,
    "alexnet-lite": AlexNetLite,
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
