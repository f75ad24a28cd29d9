"""Training by several processes, each of which has rows of its own."""

from typing import cast

import torch
from torch import nn

from sklearn_ae._data.batch import Batch
from sklearn_ae._data.batches import Batches
from sklearn_ae._data.sources import Scaled
from sklearn_ae._torch import torch_seed
from sklearn_ae._training.optimizers import Adam
from sklearn_ae._training.state import copied
from sklearn_ae._training.trainer import Trainer, enough_memory


class SharedTrainer(Trainer):
    """Trains equal networks in all processes: gradients are added up before each step.

    An epoch has as many steps as that of one process with all rows, and a process spreads its
    rows over all of them, so one with few or none takes part to the end. Every row weighs the
    same, whichever process it is in. Rank 0 decides what depends on losses.
    """

    is_shared = True

    def train(self, rows, held_out=None):
        self.processes, self.error = rows.spread.processes, None
        self._take_first()
        super().train(rows, held_out)

    def _learn(self, batches):
        processes = self.processes
        # noise and order differ between processes, and depend on the epoch only: fits can go on
        seed = torch.initial_seed() + self.state.epoch * processes.size + processes.rank
        with torch_seed(seed, self.device):
            return super()._learn(batches)

    def _batches(self, rows):
        n_rows = rows.n_all
        own = Scaled(rows.source.own_rows(), rows.scaling, rows.device)
        weight = own.n_rows if own.weight is None else float(own.weight.double().sum())
        mean = sum(self.processes.together(lambda: weight)) / n_rows
        self.factor = weight / own.n_rows / mean if own.n_rows else 0.0
        self.share = own.n_rows / n_rows
        n_steps = Batches.n_batches(n_rows, self.batch_size)
        self.row_weight = self.factor * n_steps / n_rows
        self.n_all = n_rows
        return SharedBatches(own, n_steps, self)

    def gradients(self, step, batch):
        loss, n = torch.zeros((), device=self.device), batch.n_rows
        try:
            if n and self.error is None:
                with enough_memory(self, self.n_all):
                    loss = step.gradients(batch)
        except Exception as error:  # told at the end of the epoch; the others need us until then
            self.error = error
        if not n or self.error is not None:
            self.optimizer.zero_grad(set_to_none=False)
            n, step.raw = 0, batch.x
        self._add_gradients(n * self.row_weight)
        if self.module.latent.running_means:
            self._average_latent(n * self.row_weight)
        return loss

    @torch.no_grad()
    def _add_gradients(self, weight: float) -> None:
        """The weighted sum of all processes' gradients in the place of our own."""
        if isinstance(self.optimizer, Adam):
            self.optimizer.collect_gradients()
            parts = [flat.gradient for flat in self.optimizer.flats]
        else:
            parts = []
            for p in self.module.parameters():
                if p.requires_grad:
                    p.grad = torch.zeros_like(p) if p.grad is None else p.grad
                    parts.append(p.grad)
        flat = parts[0] if len(parts) == 1 else torch.cat([part.flatten() for part in parts])
        self.processes.add(flat.mul_(weight))
        if len(parts) > 1:
            for part, added in zip(parts, flat.split([p.numel() for p in parts]), strict=True):
                part.copy_(added.view_as(part))

    @torch.no_grad()
    def _average_latent(self, weight: float) -> None:
        """What the latent has learnt from the rows of all processes in the place of our own."""
        latent, means = self.module.latent, []
        for name, buffer in latent.named_buffers():
            if name in latent.running_means:
                means.append(buffer)
            else:
                self.processes.take_first(buffer)
        flat = torch.cat([*(buffer.flatten() for buffer in means), means[0].new_ones(1)])
        self.processes.add(flat.mul_(weight))
        added = (flat[:-1] / flat[-1]).split([buffer.numel() for buffer in means])
        for buffer, mean in zip(means, added, strict=True):
            buffer.copy_(mean.view_as(buffer))

    def _mean(self, total, batches):
        def own_part() -> float:
            if self.error is not None:
                raise self.error
            return self.factor * total.item()

        mean = sum(self.processes.together(own_part)) / self.n_all
        self._add_statistics()
        buffers = list(self.module.buffers())  # what else is in them may depend on own rows
        first = self.processes.of_first(copied(buffers, torch.device("cpu")))
        for buffer, value in zip(buffers, first, strict=True):
            buffer.copy_(value)
        return mean

    @torch.no_grad()
    def _add_statistics(self) -> None:
        """Running means and variances of batch normalisation, of all processes' rows."""
        for one in self.module.modules():
            if isinstance(one, nn.modules.batchnorm._BatchNorm) and one.running_mean is not None:
                mean, var = one.running_mean, cast(torch.Tensor, one.running_var)
                var.add_(mean.square()).mul_(self.share)
                mean.mul_(self.share)
                self.processes.add(mean)
                self.processes.add(var)
                var.sub_(mean.square()).clamp_min_(0)

    def _judge(self, rows, observer):
        losses = super()._judge(rows, observer)
        if losses is not None:
            self.processes.take_first(losses)
        return losses

    def _end_epoch(self, loss, losses):
        super()._end_epoch(loss, losses)
        self.state.stopped = self.processes.of_first(self.state.stopped)

    def _choose_weights(self):
        if self.interrupted is not None:  # the others are not: nothing can be agreed upon
            raise self.interrupted
        super()._choose_weights()
        self._take_first()

    def _take_first(self) -> None:
        """Rank 0's weights."""
        weights = copied(dict(self.module.state_dict()), torch.device("cpu"))
        self.module.load_state_dict(self.processes.of_first(weights))


class SharedBatches(Batches):
    """This process's parts of the batches of an epoch; some may be empty.

    Parameters
    ----------
    source : Scaled
        The rows of this process.
    n_batches : int
    trainer : SharedTrainer
        Is told if rows cannot be read.
    """

    def __init__(self, source: Scaled, n_batches: int, trainer: SharedTrainer):
        super().__init__(source, max(1, -(-source.n_rows // n_batches)), shuffle=True)
        n, processes = source.n_rows, trainer.processes
        offset = (processes.rank + 0.5) / processes.size  # so that odd rows are not all in one step
        self.starts = [0, *(int(i * n / n_batches + offset) for i in range(1, n_batches))]
        self.trainer = trainer

    def __iter__(self):
        n_given = 0
        try:
            for batch in super().__iter__():
                n_given += 1
                yield batch
        except Exception as error:
            self.trainer.error = error
            for _ in range(len(self) - n_given):
                yield self._nothing()

    def _nothing(self) -> Batch:
        return Batch(torch.empty(0, self.source.n_features, device=self.source.device))
