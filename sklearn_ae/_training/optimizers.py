"""The optimisers by name; Adam and AdamW over parameters laid out as one tensor."""

import inspect
from typing import Any

import torch
from torch import Tensor

ALIGNED = 16  # numbers of four bytes
# Undecorated: the decorator's first call imports torch's compiler.
add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)


class Adam(torch.optim.Optimizer):
    r"""Adam [1]_ with one fused call a step, however many parameters there are.

    torch's own optimisers spend longer on Python around each step than a small network's step
    takes, and importing torch's compiler at the first step takes most of a second. Here the
    parameters become views of one tensor, and so do their gradients, which are set to zero and not
    freed. State, hooks and ``state_dict`` are those of :class:`torch.optim.Adam`.

    Parameters
    ----------
    params : iterable of nn.Parameter or dict
        As for any torch optimiser: parameters, dense, of one type and device, or groups of such.
    lr : float, default=1e-3
        Learning rate.
    betas : tuple of float, default=(0.9, 0.999)
        Decay of the running means of the gradient and of its square.
    eps : float, default=1e-8
        Added to the denominator.
    weight_decay : float, default=0.0
        Added to the gradient as ``weight_decay * parameter``.
    max_norm : float or None, default=None
        Gradients of a greater norm, over all parameters of a group, are scaled down to it.

    References
    ----------
    .. [1] Kingma and Ba (2015), "Adam: A Method for Stochastic Optimization", ICLR.
    """

    _fused_step: Any = staticmethod(torch._fused_adam_)

    def __init__(
        self,
        params,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.0,
        max_norm=None,
    ):
        self.flats: list[Flat] = []
        defaults = {"lr": lr, "betas": betas, "eps": eps}
        super().__init__(params, {**defaults, "weight_decay": weight_decay, "max_norm": max_norm})

    def add_param_group(self, param_group):
        """Add parameters, with options of their own, as for any torch optimiser."""
        add_param_group(self, param_group)
        self._lay_out(self.param_groups[-1])

    def rates_on_device(self):
        """Make the learning rates tensors on the device, which a CUDA graph reads each time."""
        for group, flat in zip(self.param_groups, self.flats, strict=True):
            if not isinstance(group["lr"], Tensor):
                group["lr"] = torch.tensor(float(group["lr"]), device=flat.values.device)

    def zero_grad(self, set_to_none=True):
        """Set the gradients to zero; they are views of one tensor, so they stay in place."""
        for flat in self.flats:
            flat.gradient.zero_()

    def collect_gradients(self):
        """Put gradients back in place that somebody has replaced or taken away."""
        for flat in self.flats:
            flat.collect_gradients()

    @torch.no_grad()
    def step(self, closure=None):
        """One step; `closure`, if given, computes loss and gradients first.

        A parameter without a gradient counts as one whose gradient is zero.
        """
        for hook in self._optimizer_step_pre_hooks.values():
            hook(self, (closure,), {})
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.collect_gradients()
        for group, flat in zip(self.param_groups, self.flats, strict=True):
            flat.step += 1
            excess = None
            if group["max_norm"] is not None:
                excess = (torch.linalg.vector_norm(flat.gradient) / group["max_norm"]).clamp_min_(1)
            tensors = [[one] for one in (flat.values, flat.gradient, flat.mean, flat.square)]
            options = {name: group[name] for name in ("lr", "weight_decay", "eps")}
            options |= {"amsgrad": False, "maximize": False, "grad_scale": excess}
            beta1, beta2 = group["betas"]
            self._fused_step(*tensors, [], [flat.step], beta1=beta1, beta2=beta2, **options)
        for hook in self._optimizer_step_post_hooks.values():
            hook(self, (closure,), {})
        return loss

    # The base class would wrap each step in a profiler's record; the hooks are called above.
    step.hooked = True  # type: ignore[attr-defined]

    def state_dict(self):
        """As torch's, whose Adam counts the steps of each parameter in a tensor of its own."""
        packed = super().state_dict()
        states = packed["state"].items()
        packed["state"] = {i: {**own, "step": own["step"].clone()} for i, own in states}
        return packed

    def load_state_dict(self, state_dict):
        """Go on from what ``state_dict`` gave, of this class or of torch's Adam."""
        norms = [group["max_norm"] for group in self.param_groups]
        super().load_state_dict(state_dict)
        for group, norm in zip(self.param_groups, norms, strict=True):
            group.setdefault("max_norm", norm)
        self._lay_out_again()

    def __setstate__(self, state):
        super().__setstate__(state)
        if "flats" not in self.__dict__:  # unpickled or copied
            self._lay_out_again()

    def _lay_out_again(self) -> None:
        self.flats = []
        for group in self.param_groups:
            self._lay_out(group)

    def _lay_out(self, group: dict) -> None:
        """Make a group's parameters, and what is known of their state, views of flat tensors."""
        flat = Flat(group["params"])
        means, squares = flat.views(flat.mean), flat.views(flat.square)
        for p, mean, square in zip(flat.parameters, means, squares, strict=True):
            known = self.state.get(p, {})
            if known:
                mean.copy_(known["exp_avg"])
                square.copy_(known["exp_avg_sq"])
                flat.step.copy_(torch.as_tensor(known["step"]))
            self.state[p] = {"step": flat.step, "exp_avg": mean, "exp_avg_sq": square}
        self.flats.append(flat)


class AdamW(Adam):
    """Adam with weight decay that is not scaled by the gradients (Loshchilov and Hutter, 2019)."""

    _fused_step = staticmethod(torch._fused_adamw_)


class SGD(torch.optim.SGD):
    """torch's, made without importing torch's compiler: for nets that are not trained."""

    add_param_group = add_param_group


class Flat:
    """Parameters as views of one tensor, their gradients as views of another, and Adam's state.

    Each begins at a multiple of 64 bytes, as tensors of their own do: kernels round differently
    for others.

    Parameters
    ----------
    parameters : list of nn.Parameter
    """

    @torch.no_grad()
    def __init__(self, parameters: list[Tensor]):
        self.parameters = parameters
        self.sizes = [-(-p.numel() // ALIGNED) * ALIGNED for p in parameters]
        zeros = [parameters[0].new_zeros(sum(self.sizes)) for _ in range(4)]
        self.values, self.gradient, self.mean, self.square = zeros
        self.step = torch.zeros((), device=self.values.device)
        self.gradients = self.views(self.gradient)
        values = self.views(self.values)
        for p, value, gradient in zip(parameters, values, self.gradients, strict=True):
            p.data = value.copy_(p)
            p.grad = gradient

    def views(self, flat: Tensor) -> list[Tensor]:
        """The parts of a flat tensor that belong to each parameter, in its shape."""
        parts = zip(self.parameters, flat.split(self.sizes), strict=True)
        return [part[: p.numel()].view_as(p) for p, part in parts]

    def collect_gradients(self) -> None:
        """Put gradients back in place that were replaced, as by ``module.zero_grad()``."""
        for p, gradient in zip(self.parameters, self.gradients, strict=True):
            if p.grad is not gradient:
                gradient.zero_() if p.grad is None else gradient.copy_(p.grad)
                p.grad = gradient


OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict]] = {
    "adagrad": (torch.optim.Adagrad, {}),
    "adam": (Adam, {}),
    "adamw": (AdamW, {}),
    "nadam": (torch.optim.NAdam, {}),
    "radam": (torch.optim.RAdam, {}),
    "rmsprop": (torch.optim.RMSprop, {}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "fused": True}),
}
