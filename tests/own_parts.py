"""A loss, a metric, a backbone and an optimizer as a user writes them, for configs that name them by their paths."""

import torch
from torch import nn
from torch.nn import functional as F
from torchmetrics import Metric


def focal(logits, targets, gamma=2.0):
    """Lin et al. 2017, as a function of logits and labels."""
    losses = F.cross_entropy(logits, targets, reduction="none")
    return (1 - torch.exp(-losses)) ** gamma * losses


class Focal(nn.Module):
    def __init__(self, gamma=2.0, reduction="mean"):
        super().__init__()
        self.gamma, self.reduction = gamma, reduction

    def forward(self, logits, targets):
        losses = focal(logits, targets, self.gamma)
        return losses.mean() if self.reduction == "mean" else losses


class Scaled(nn.Module):
    """Cross-entropy of logits with a learned scale for each class; it returns one number."""

    def __init__(self, num_classes):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(num_classes))

    def forward(self, logits, targets):
        return F.cross_entropy(logits * self.scale, targets)


def labels_as_numbers(logits, targets):
    """Takes probabilities without an error, but not as probabilities."""
    return F.cross_entropy(logits, targets.long() if targets.ndim == 1 else targets.long().argmax(1) * 0)


def targets_first(y_true, y_pred):
    """Computed from one-hot vectors without an error, and with a gradient."""
    return F.cross_entropy(y_true, y_pred)


def without_gradient(logits, targets):
    return (logits.argmax(1) != targets).float()


class Hits(Metric):
    """The number of right predictions of each class."""

    def __init__(self, num_classes):
        super().__init__()
        self.add_state("hits", torch.zeros(num_classes), dist_reduce_fx="sum")

    def update(self, predictions, targets):
        right = targets[predictions.argmax(1) == targets]
        self.hits += torch.bincount(right, minlength=len(self.hits))

    def compute(self):
        return self.hits


class Rates(Metric):
    """Two numbers by name."""

    def __init__(self):
        super().__init__()
        self.add_state("n", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, predictions, targets):
        self.n += len(targets)

    def compute(self):
        return {"images": self.n, "double": 2 * self.n}


class Matrix(Hits):
    def compute(self):
        return self.hits.repeat(2, 1)


class Net(nn.Module):
    """A network with a stem, two stages and a head, as no library names them."""

    def __init__(self, num_classes, in_chans):
        super().__init__()
        self.begin = nn.Conv2d(in_chans, 4, 3, padding=1)
        self.begin_norm = nn.BatchNorm2d(4)
        self.first = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2), nn.BatchNorm2d(6), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
        self.output = nn.Linear(8, num_classes)

    def forward(self, x):
        x = self.second(self.first(self.begin_norm(self.begin(x)).relu()))
        return self.output(x.mean((2, 3)))


def net(num_classes, in_chans):
    return Net(num_classes, in_chans)


class Averaged(torch.optim.Optimizer):
    """SGD that evaluates the average of the weights, with the interface of schedule-free optimizers.

    Train mode has the weights of SGD in the model, eval mode their average. As in the real ones, the number of steps is
    in the parameter groups, and switching modes rounds.
    """

    def __init__(self, params, lr=0.1, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "k": 0, "train_mode": False})

    @torch.no_grad()
    def _switch(self, train):
        for group in self.param_groups:
            for p in group["params"] if group["train_mode"] != train else []:
                if "average" in self.state[p]:
                    average = self.state[p]["average"]
                    p.add_(average, alpha=-0.7).div_(0.3) if train else p.mul_(0.3).add_(average, alpha=0.7)
            group["train_mode"] = train

    def train(self):
        self._switch(True)

    def eval(self):
        self._switch(False)

    def step(self, closure=None):
        if not all(group["train_mode"] for group in self.param_groups):
            raise RuntimeError("step() in eval mode")
        with torch.enable_grad():
            loss = closure() if closure else None
        with torch.no_grad():
            for group in self.param_groups:
                group["k"] += 1
                for p in group["params"]:
                    if p.grad is not None:
                        p.add_(p.grad, alpha=-group["lr"])
                        average = self.state[p].setdefault("average", p.clone())
                        average.lerp_(p, 1 / group["k"])
        return loss
