"""Those who are told of a training's epochs, and the bar or the lines that show them."""

import shutil
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from multiprocessing import current_process
from typing import Any

BAR_APART = 0.1  # seconds between two pictures of a bar
LINES_APART = 30.0  # seconds after which a line is printed in any case
SHARE_APART = 0.1  # of the epochs, after which a line is printed
BAR = "{desc} |{bar}| epoch {n_fmt}/{total_fmt}{postfix}"


class Watcher:
    """Is told of a training. A pickle of the net does not take it along."""

    def begin(self, net: Any) -> None:
        """Training begins."""

    def begin_epoch(self, net: Any) -> None:
        """An epoch begins."""

    def end_epoch(self, net: Any) -> bool:
        """An epoch has ended, and its losses are in the history; True ends training."""
        return False

    def end(self, net: Any) -> None:
        """Training has ended, and the best weights are back."""

    def close(self) -> None:
        """Training is over, whatever ended it."""

    def __reduce__(self):
        return Watcher, ()


class Progress(Watcher):
    """What ``verbose`` asks for.

    With 1 it is one live bar, in a terminal or a notebook; elsewhere plain lines, about one for
    each tenth of the epochs. With 2 or more it is a line for each epoch. Bars go where tqdm puts
    them, to stderr; lines go to stdout.

    Parameters
    ----------
    name : str
        What is trained.
    verbose : int
    """

    def __init__(self, name: str, verbose: int):
        self.name, self.verbose = name, verbose
        self.bar: Any = None

    def begin(self, net):
        self.started = self.shown_at = time.monotonic()
        self.first = self.epoch = self.shown = net.state_.epoch
        self.losses = "no epoch"
        bar = find_bar() if self.verbose == 1 else None
        if bar is not None:
            self.bar = bar(total=net.max_epochs, initial=self.first, desc=self.name, bar_format=BAR)

    def end_epoch(self, net):
        now, n_epochs = time.monotonic(), net.max_epochs
        self.epoch, self.losses = net.state_.epoch, losses(net)
        best = f", best: {name_of(net.state_.best_epoch)}" if net.keep_best else ""
        text = f"{self.losses}{best}{self._left(now, n_epochs)}"
        if self.bar is not None:
            if now - self.shown_at >= BAR_APART:
                self._draw(text)
                self.shown_at = now
        elif self.verbose > 1 or now - self.shown_at >= LINES_APART or self._is_tenth(n_epochs):
            print(f"{self.name}: epoch {self.epoch}/{n_epochs}, {text}", flush=True)
            self.shown, self.shown_at = self.epoch, now
        return False

    def end(self, net):
        kept = f"{name_of(net.best_epoch_)} kept"
        took = duration(time.monotonic() - self.started)
        if self.bar is not None:
            self._draw(f"{self.losses}, {kept}, {took}")
        else:
            print(f"{self.name}: {self.epoch} epochs in {took}, {self.losses}, {kept}", flush=True)

    def close(self):
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _draw(self, text: str) -> None:
        self.bar.n = self.epoch
        self.bar.set_postfix_str(text, refresh=False)
        self.bar.refresh()

    def _is_tenth(self, n_epochs: int) -> bool:
        """Whether another tenth of the epochs is over since the last line; the end has a line of
        its own.
        """
        return self.epoch - self.shown >= SHARE_APART * n_epochs and self.epoch < n_epochs

    def _left(self, now: float, n_epochs: int) -> str:
        """The time that the remaining epochs will take, if they take as long as those so far; empty
        under a second.
        """
        seconds = (now - self.started) / (self.epoch - self.first) * (n_epochs - self.epoch)
        return f", {duration(seconds)} left" if seconds >= 1 else ""


class StreamProgress(Progress):
    """What ``verbose`` asks for in a stream, whose end nobody knows: lines."""

    def __init__(self, name: str, verbose: int):
        super().__init__(name, verbose)
        self.shown_at = -LINES_APART

    def end_epoch(self, net):
        now = time.monotonic()
        if self.verbose > 1 or now - self.shown_at >= LINES_APART:
            print(f"{self.name}: chunk {net.state_.epoch}, {losses(net)}", flush=True)
            self.shown_at = now
        return False


def losses(net: Any) -> str:
    """The losses of the last epoch."""
    last = net.history[-1]
    text = f"loss {last['train_loss']:#.4g}"
    return f"{text}, validation loss {last['valid_loss']:#.4g}" if "valid_loss" in last else text


def name_of(epoch: int) -> str:
    return f"epoch {epoch}" if epoch else "start"


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.0f} min" if hours < 1 else f"{hours:.1f} h"


def find_bar() -> Callable | None:
    """What makes a tqdm bar where one can move, in a terminal or in a notebook with ipywidgets;
    else None.

    Workers of a search have none: bars of several processes would write over one another.
    """
    if current_process().name != "MainProcess":
        return None
    from tqdm.std import TqdmWarning
    from tqdm.std import tqdm as in_terminal

    with warnings.catch_warnings():
        # a notebook without ipywidgets has plain lines
        warnings.simplefilter("ignore", TqdmWarning)
        from tqdm.auto import tqdm

    if tqdm.status_printer is not in_terminal.status_printer:
        return tqdm
    return (
        partial(tqdm, ncols=shutil.get_terminal_size().columns) if is_terminal(sys.stderr) else None
    )


def is_terminal(stream: Any) -> bool:
    """Whether a stream, None where there is none, is a terminal."""
    return stream is not None and stream.isatty()
