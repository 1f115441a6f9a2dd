"""Progress of training: a bar on a terminal; elsewhere nothing but the line an epoch."""

import math
from typing import Any

from ..training import Epoch, Step


class Progress:
    """A context manager; `step` after each step, `epoch` after each epoch. Both write to stderr or stdout as told."""

    def __init__(self, epochs: int, batch_size: int, to_stderr: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self.console = Console(stderr=to_stderr, highlight=False, soft_wrap=True)
        self.epochs, self.batch_size = epochs, batch_size
        self.bar = Bar(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[means]}"),
            TextColumn("{task.fields[rate]:,.0f} images/s"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
        )
        self.task: Any = None

    def __enter__(self) -> "Progress":
        self.bar.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.bar.stop()

    def step(self, now: Step) -> None:
        if self.bar.disable:
            return
        if self.task is None:
            fields: dict[str, Any] = {"epochs": self.epochs, "epoch": 1, "means": "", "rate": 0.0}
            done = (now.epoch - 1) * now.steps + now.step
            self.task = self.bar.add_task("train", total=self.epochs * now.steps, completed=done, **fields)
        speed = self.bar.tasks[0].speed or 0.0
        self.bar.update(
            self.task,
            completed=(now.epoch - 1) * now.steps + now.step,
            epoch=now.epoch,
            means="" if math.isnan(now.loss) else f"loss {now.loss:.4f}  accuracy {now.accuracy:.1%}",
            rate=speed * self.batch_size,
        )

    def epoch(self, done: Epoch) -> None:
        self.console.print(
            f"epoch {done.epoch:>{len(str(self.epochs))}}/{self.epochs}  "
            f"train loss {done.train_loss:.4f}  accuracy {done.train_accuracy:6.2%}  "
            f"test loss {done.test_loss:.4f}  accuracy {done.test_accuracy:6.2%}  "
            f"{done.images_per_second:,.0f} images/s  {done.seconds:.1f} s"
        )
