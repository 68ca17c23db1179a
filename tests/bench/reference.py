"""Reference lines: rules of the literature that see what no scheduler is told, gradients or the losses of steps.

They stand beside the arms so that one can see what the view of reports alone costs.  Each moves one network a seed, the
batch's optimizer gives the direction; what depends on a size of its own is as the papers have it, or as
client/train/run.c has it, so that both comparisons mean the same.
"""
import torch

MOST = 1e3  # of the initial rate


class Line:
    """Arm `arm` of the networks, from the rate lr on; `rate` [S] is what it used last."""

    def __init__(self, networks, arm, lr):
        self.networks, self.arm, self.lr = networks, arm, lr
        self.params = self.mine(networks.params)
        self.rate = torch.full((networks.seeds,), float(lr))

    def mine(self, tensors):
        """This arm's part of what there is one of per parameter: views, [S, in or 1, out]."""
        return [t.select(2 if first else 1, self.arm) for t, first in zip(tensors, self.networks.first)]

    def step(self, gradients, directions, x, y):
        """One step of the optimizer on the minibatch x, y [S, B, ...]."""
        raise NotImplementedError


def dot(a, b):
    """Per seed, over all parameters."""
    return sum((u * v).sum((1, 2)) for u, v in zip(a, b))


class Hypergradient(Line):
    """Baydin et al., Online learning rate adaptation with hypergradient descent, arXiv 1703.04782, its multiplicative rule:
    the rate follows the angle between a gradient and the last direction."""

    gain, before = 0.05, None

    def step(self, gradients, directions, x, y):
        g, u = self.mine(gradients), self.mine(directions)
        if self.before:
            size = (dot(g, g) * dot(self.before, self.before)).sqrt().clamp(min=1e-30)
            self.rate = self.rate * (1 + self.gain * dot(g, self.before) / size)
        for p, d in zip(self.params, u):
            p.sub_(self.rate.view(-1, 1, 1) * d)
        self.before = [d.clone() for d in u]


class HypergradientEach(Line):
    """The same with a rate per parameter, which goes by the sign of the product; `rate` is their geometric mean."""

    gain, before = 0.05, None

    def __init__(self, networks, arm, lr):
        super().__init__(networks, arm, lr)
        self.each = [torch.full_like(p, lr) for p in self.params]

    def step(self, gradients, directions, x, y):
        u = self.mine(directions)
        for g, b, each in zip(self.mine(gradients), self.before or [], self.each):
            each.mul_(1 + self.gain * torch.sign(g * b))
        for p, d, each in zip(self.params, u, self.each):
            p.sub_(each * d)
        self.before = [d.clone() for d in u]
        logs = [each.log().flatten(1) for each in self.each]
        self.rate = torch.cat(logs, 1).mean(1).exp()


class Armijo(Line):
    """Vaswani et al., Painless stochastic gradient, arXiv 1905.09997: from twice the last rate, halved until the minibatch's
    loss falls by a tenth of what its slope promises."""

    share, tries = 0.1, 30

    def loss(self, params, x, y):
        for i, (w, b) in enumerate(zip(params[::2], params[1::2])):
            if i:
                x = x.relu() if self.networks.relu else x.tanh()
            x = torch.baddbmm(b, x, w)
        if self.networks.cross_entropy:
            return -(torch.log_softmax(x, -1) * y).sum(-1).mean(-1)
        return (x - y).square().mean((-1, -2))

    def step(self, gradients, directions, x, y):
        u = self.mine(directions)
        slope, now = dot(self.mine(gradients), u).clamp(min=0), self.loss(self.params, x, y)
        self.rate = (2 * self.rate).clamp(max=MOST * self.lr)
        for _ in range(self.tries):
            trial = [p - self.rate.view(-1, 1, 1) * d for p, d in zip(self.params, u)]
            fine = self.loss(trial, x, y) <= now - self.share * self.rate * slope
            if fine.all():
                break
            self.rate = torch.where(fine, self.rate, self.rate / 2)
        for p, d in zip(self.params, u):
            p.sub_(self.rate.view(-1, 1, 1) * d)


LINES = {"hypergradient": Hypergradient, "hypergradient each": HypergradientEach, "armijo": Armijo}
