"""Many small networks trained at once: S seeds times A arms, each with its own weights and its own learning rate.

The arms of a seed see the same minibatch, so the first layer of all of them is one matrix product per seed; its weights
are [S, in, A, out].  Later layers are [S, A, in, out].  Gradients and optimizers are written out and equal torch.nn and
torch.optim (tests/integration/test_compare.py).
"""
import torch


class Networks:
    """`weights`: [[W of S seeds, b of S seeds] per layer], as Task has them; every arm starts with its seed's."""

    def __init__(self, weights, arms, activation, loss):
        self.arms, self.seeds = arms, weights[0][0].shape[0]
        self.relu, self.cross_entropy = activation == "relu", loss == "cross_entropy"
        self.params, self.first = [], [True, True] + [False] * (2 * len(weights) - 2)
        for layer, (w, b) in enumerate(weights):
            axis = 2 if layer == 0 else 1
            b = b.unsqueeze(1)
            for t in (w, b):
                self.params.append(t.unsqueeze(axis).repeat_interleave(arms, axis).contiguous())

    def spread(self, per_arm, i):
        """[S, A] in the shape that goes with parameter i."""
        s, a = per_arm.shape
        return per_arm.view(s, 1, a, 1) if self.first[i] else per_arm.view(s, a, 1, 1)

    def forward(self, x):
        """x [S, B, in] -> outputs [S, A, B, out] and the hidden activations on the way."""
        s, n, _ = x.shape
        w, b = self.params[0], self.params[1]
        z = torch.bmm(x, w.flatten(2)).view(s, n, self.arms, -1).add_(b)
        h = z.permute(0, 2, 1, 3).contiguous()
        hidden = []
        for w, b in zip(self.params[2::2], self.params[3::2]):
            h = h.relu_() if self.relu else h.tanh_()
            hidden.append(h)
            h = torch.matmul(h, w).add_(b)
        return h, hidden

    def losses(self, x, y):
        """Mean loss of every network on x, y [S, B, ...]: [S, A]."""
        out, _ = self.forward(x)
        y = y.unsqueeze(1)
        if self.cross_entropy:
            return -(torch.log_softmax(out, -1) * y).sum(-1).mean(-1)
        return (out - y).square_().mean((-1, -2))

    def gradients(self, x, y):
        """Gradients of that loss, one per parameter."""
        out, hidden = self.forward(x)
        y = y.unsqueeze(1)
        if self.cross_entropy:
            d = torch.softmax(out, -1).sub_(y).div_(x.shape[1])
        else:
            d = out.sub_(y).mul_(2 / (x.shape[1] * y.shape[-1]))
        found = []
        for layer in range(len(hidden), 0, -1):
            h = hidden[layer - 1]
            found = [torch.matmul(h.transpose(2, 3), d), d.sum(2, keepdim=True)] + found
            d = torch.matmul(d, self.params[2 * layer].transpose(2, 3))
            d = d.mul_(h > 0) if self.relu else d.mul_(1 - h * h)
        d = d.permute(0, 2, 1, 3).contiguous()
        w = torch.bmm(x.transpose(1, 2), d.flatten(2)).view_as(self.params[0])
        return [w, d.sum(1, keepdim=True)] + found


class SGD:
    """torch.optim.SGD without momentum, one rate per network."""

    def __init__(self, networks):
        self.networks = networks

    def directions(self, gradients):
        """What a step of rate 1 takes off every parameter."""
        return gradients

    def step(self, gradients, rates):
        """Returns the directions."""
        found = self.directions(gradients)
        for i, (p, d) in enumerate(zip(self.networks.params, found)):
            p.addcmul_(d, self.networks.spread(rates, i), value=-1)
        return found


class Adam(SGD):
    """torch.optim.Adam with its defaults, one rate per network."""

    def __init__(self, networks, betas=(0.9, 0.999), eps=1e-8):
        super().__init__(networks)
        self.betas, self.eps, self.t = betas, eps, 0
        self.m = [torch.zeros_like(p) for p in networks.params]
        self.v = [torch.zeros_like(p) for p in networks.params]

    def directions(self, gradients):
        self.t += 1
        b1, b2 = self.betas
        root, found = (1 - b2 ** self.t) ** 0.5, []
        for g, m, v in zip(gradients, self.m, self.v):
            m.mul_(b1).add_(g, alpha=1 - b1)
            v.mul_(b2).addcmul_(g, g, value=1 - b2)
            denominator = v.sqrt().div_(root).add_(self.eps).mul_(1 - b1 ** self.t)
            found.append(torch.div(m, denominator, out=denominator))
        return found


OPTIMIZERS = {"sgd": SGD, "adam": Adam}
