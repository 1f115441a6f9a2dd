"""LeNet on the bundled 8x8 digits, without the command line: the whole training loop on one page.

python examples/train_lenet.py
"""

import numpy as np

import gpucnn as g
import gpucnn.functional as F
from gpucnn.data import load


def lenet() -> g.Sequential:
    return g.Sequential(
        g.Conv2d(1, 6, 5),  # 1x32x32 -> 6x28x28
        g.ReLU(),
        g.MaxPool2d(2),  # 6x14x14
        g.Conv2d(6, 16, 5),  # 16x10x10
        g.ReLU(),
        g.MaxPool2d(2),  # 16x5x5
        g.Flatten(),
        g.Linear(400, 120),
        g.ReLU(),
        g.Linear(120, 84),
        g.ReLU(),
        g.Linear(84, 10),
    )


def main(epochs: int = 20, batch_size: int = 32) -> float:
    digits = load("digits").fit((32, 32))
    mean, std = digits.mean[0], digits.std[0]
    train_x, test_x = (((x - mean) / std).astype(np.float32) for x in (digits.train_x, digits.test_x))

    model = lenet().initialize(seed=0)
    optimizer = g.optim.SGD(model.named_parameters(), lr=0.02, momentum=0.9)
    schedule = g.optim.cosine(epochs)
    rng = np.random.default_rng(0)
    accuracy = 0.0
    for epoch in range(epochs):
        optimizer.lr = 0.02 * schedule(epoch)
        order = rng.permutation(len(train_x))
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            loss = F.cross_entropy(model(g.Tensor(train_x[batch])), digits.train_y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with g.no_grad():
            logits = model(g.Tensor(test_x)).numpy()
        accuracy = float((logits.argmax(1) == digits.test_y).mean())
        print(f"epoch {epoch + 1:2}  loss of the last batch {loss.item():.4f}  test accuracy {accuracy:.2%}")
    return accuracy


if __name__ == "__main__":
    main()
