"""Adam and AdamW over parameters laid out as one tensor."""

import torch
from torch import Tensor

ALIGNED = 16  # numbers of four bytes


class Adam(torch.optim.Optimizer):
    r"""Adam [1]_ with one fused call a step, however many parameters there are.

    torch's own optimisers spend longer on Python around each step than a small network's step takes, and importing torch's
    compiler at the first step costs the better part of a second. Here the parameters become views of one tensor, and so do their
    gradients, which are kept and set to zero and not freed.

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

    _fused_step = staticmethod(torch._fused_adam_)

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, max_norm=None):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "max_norm": max_norm})
        self.flats = [make_flat(group["params"]) for group in self.param_groups]

    def rates_on_device(self):
        """Make the learning rates tensors on the parameters' device, so that a CUDA graph reads them at each replay."""
        for group, flat in zip(self.param_groups, self.flats, strict=True):
            if not isinstance(group["lr"], Tensor):
                group["lr"] = torch.tensor(float(group["lr"]), device=flat["values"].device)

    # The base class wraps this in a decorator whose first call imports torch's compiler.
    add_param_group = torch.optim.Optimizer.add_param_group.__wrapped__

    def zero_grad(self, set_to_none=True):
        """Set the gradients to zero; they are views of one tensor, so they stay in place."""
        for flat in self.flats:
            flat["gradient"].zero_()

    @torch.no_grad()
    def step(self, closure=None):
        """One step; `closure`, if given, computes loss and gradients first."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group, flat in zip(self.param_groups, self.flats, strict=True):
            flat["step"] += 1
            excess = None
            if group["max_norm"] is not None:
                excess = (torch.linalg.vector_norm(flat["gradient"]) / group["max_norm"]).clamp_min_(1)
            self._fused_step(
                [flat["values"]],
                [flat["gradient"]],
                [flat["mean"]],
                [flat["square"]],
                [],
                [flat["step"]],
                lr=group["lr"],
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
                grad_scale=excess,
            )
        return loss

    step.hooked = True  # keeps the base class from wrapping each step in a profiler's record


class AdamW(Adam):
    """Adam with weight decay that is not scaled by the gradients (Loshchilov and Hutter, 2019)."""

    _fused_step = staticmethod(torch._fused_adamw_)


@torch.no_grad()
def make_flat(parameters: list[Tensor]) -> dict[str, Tensor]:
    """Make parameters and their gradients views of two flat tensors; give those, and Adam's state of the same shape.

    Each begins at a multiple of 64 bytes, as tensors of their own do: kernels round differently for others.
    """
    sizes = [-(-p.numel() // ALIGNED) * ALIGNED for p in parameters]
    values, gradient, mean, square = (parameters[0].new_zeros(sum(sizes)) for _ in range(4))
    for p, value, grad in zip(parameters, values.split(sizes), gradient.split(sizes), strict=True):
        value, grad = value[: p.numel()].view_as(p), grad[: p.numel()].view_as(p)
        p.data, p.grad = value.copy_(p), grad
    return {"values": values, "gradient": gradient, "step": torch.zeros((), device=values.device), "mean": mean, "square": square}
