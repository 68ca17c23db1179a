"""The harness of `make compare`: its batched training is torch.nn and torch.optim, and its arms are paired."""
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "bench"))
try:
    import numpy
    import torch

    import batch
    import noise
    import reference
    import tasks
    import verdict
    MISSING = None
except ImportError as error:
    MISSING = error.name

# Both seeds of wine have a burst in 12 reports, at different ones.
STEPS, SEEDS = 12, (1, 7)
PLAIN = {"sgd": "SGD", "adam": "Adam"}
needed = unittest.skipIf(MISSING, "%s is not installed; the Makefile's DEPS_COMPARE has it" % MISSING)


def rates(t):
    """Those of two arms, which change with time."""
    return torch.tensor([[0.05, 0.002]]).expand(len(SEEDS), 2) * (1 + t) / STEPS


def module(task, seed):
    """The seed's network as torch.nn has it."""
    layers = []
    for i, (w, b) in enumerate(task.weights):
        linear = torch.nn.Linear(w.shape[1], w.shape[2])
        linear.weight.data, linear.bias.data = w[seed].T.clone(), b[seed].clone()
        layers += [linear] + ([torch.nn.ReLU() if task.activation == "relu" else torch.nn.Tanh()] * (i + 1 < len(task.weights)))
    return torch.nn.Sequential(*layers)


def plain_loop(task, optimizer, seed, arm):
    """One network of the batch on its own; its weights at the end, in the order of Networks.params."""
    net = module(task, seed)
    optimizer = getattr(torch.optim, PLAIN[optimizer])(net.parameters(), lr=1)
    loss = torch.nn.CrossEntropyLoss() if task.loss == "cross_entropy" else torch.nn.MSELoss()
    for t in range(STEPS):
        optimizer.param_groups[0]["lr"] = rates(t)[seed, arm].item()
        rows = task.order[seed, t]
        optimizer.zero_grad()
        y = task.train_y[seed, rows]
        loss(net(task.train_x[seed, rows]), y).backward()
        optimizer.step()
    test = loss(net(task.test_x[seed]), task.test_y[seed]).item()
    return [p.detach().T if p.dim() == 2 else p.detach() for p in net.parameters()], test


def trained(task, optimizer, kind="clean", arms=2, of=rates):
    networks = batch.Networks(task.weights, arms, task.activation, task.loss)
    optimizer, disturbed = batch.OPTIMIZERS[optimizer](networks), noise.Noise(kind, task, STEPS)
    reports = []
    for t in range(STEPS):
        rows = task.order[:, t]
        found = networks.gradients(disturbed.x(noise.take(task.train_x, rows), t), noise.take(disturbed.train_y, rows))
        optimizer.step(disturbed.gradients(networks, found, t), of(t))
        reports.append(disturbed.report(networks, t))
    return networks, torch.stack(reports)


@needed
class Batched(unittest.TestCase):
    def test_equals_torch(self):
        for name in ("digits", "digits-deep", "diabetes"):  # relu, three hidden layers, squared error
            task = tasks.Task(name, SEEDS, STEPS)
            for optimizer in PLAIN:
                networks, _ = trained(task, optimizer)
                losses = networks.losses(task.test_x, task.test_y)
                for seed in range(len(SEEDS)):
                    for arm in range(2):
                        weights, test = plain_loop(task, optimizer, seed, arm)
                        with self.subTest(task=name, optimizer=optimizer, seed=seed, arm=arm):
                            self.assertAlmostEqual(losses[seed, arm].item(), test, delta=1e-4 * test)
                            for p, first, w in zip(networks.params, networks.first, weights):
                                mine = (p[seed, :, arm] if first else p[seed, arm]).reshape(w.shape)
                                torch.testing.assert_close(mine, w, rtol=1e-3, atol=1e-5)


@needed
class Pairing(unittest.TestCase):
    def test_arms_with_the_same_rate_are_the_same_run(self):
        task = tasks.Task("wine", SEEDS, STEPS)
        same = lambda t: torch.full((len(SEEDS), 3), 0.01)
        for kind in noise.KINDS:
            with self.subTest(noise=kind):
                networks, reports = trained(task, "sgd", kind, 3, same)
                for p, first in zip(networks.params, networks.first):
                    p = p.movedim(2, 1) if first else p
                    torch.testing.assert_close(p, p[:, :1].expand_as(p))
                torch.testing.assert_close(reports, reports[:, :, :1].expand_as(reports))

    def test_a_seed_is_the_same_run_in_any_company(self):
        for kind in noise.KINDS:
            with self.subTest(noise=kind):
                _, both = trained(tasks.Task("wine", SEEDS, STEPS), "adam", kind)
                alone_rates = lambda t: rates(t)[:1]
                _, alone = trained(tasks.Task("wine", SEEDS[1:], STEPS), "adam", kind, of=alone_rates)
                torch.testing.assert_close(both[:, 1], alone[:, 0], rtol=1e-4, atol=1e-6)

    def test_every_noise_but_none_acts(self):
        task = tasks.Task("wine", SEEDS, STEPS)
        _, clean = trained(task, "sgd")
        for kind in noise.KINDS:
            if kind not in ("clean", "plateaus"):  # plateaus leave steps out, which is the loop's part
                with self.subTest(noise=kind):
                    self.assertFalse(torch.equal(trained(task, "sgd", kind)[1], clean))

    def test_parts_of_the_data_are_disjoint(self):
        x, _, _ = tasks.load("wine")
        task = tasks.Task("wine", SEEDS, STEPS)
        for seed in range(len(SEEDS)):
            rows = torch.cat([task.train_x[seed], task.val_x[seed], task.test_x[seed]])
            self.assertEqual(len(rows), len(x))
            self.assertEqual(len(torch.unique(rows, dim=0)), len(numpy.unique(x, axis=0)))


def flat(tensors):
    return torch.cat([t.flatten() for t in tensors])


def plain_line(task, rule, seed, lr):
    """A reference line as its paper has it, with SGD and torch's own gradients: the weights at the end, and the last rate."""
    net, before = module(task, seed), None
    loss = torch.nn.CrossEntropyLoss() if task.loss == "cross_entropy" else torch.nn.MSELoss()
    w = flat(p.detach() for p in net.parameters())
    rate = torch.full_like(w, lr) if rule == "hypergradient each" else lr

    def at(v):
        torch.nn.utils.vector_to_parameters(v, net.parameters())
        return loss(net(task.train_x[seed, rows]), task.train_y[seed, rows])
    for t in range(STEPS):
        rows = task.order[seed, t]
        now = at(w)
        net.zero_grad()
        now.backward()
        g = flat(p.grad for p in net.parameters())
        if rule == "armijo":
            rate *= 2
            while at(w - rate * g) > now - 0.1 * rate * (g @ g):
                rate /= 2
        elif before is not None:
            rate = rate * (1 + 0.05 * (torch.sign(g * before) if rule != "hypergradient" else g @ before / g.norm() / before.norm()))
        w, before = w - rate * g, g
    return w, rate


@needed
class References(unittest.TestCase):
    def test_are_their_papers_rules(self):
        for name in ("wine", "digits-deep", "diabetes"):
            task = tasks.Task(name, SEEDS, STEPS)
            constants = lambda t: torch.full((len(SEEDS), 2), 0.0)
            for rule, line in reference.LINES.items():
                with self.subTest(task=name, rule=rule):
                    networks = batch.Networks(task.weights, 2, task.activation, task.loss)
                    optimizer, line = batch.SGD(networks), line(networks, 1, 0.05)
                    for t in range(STEPS):
                        x, y = (noise.take(d, task.order[:, t]) for d in (task.train_x, task.train_y))
                        found = networks.gradients(x, y)
                        line.step(found, optimizer.step(found, constants(t)), x, y)
                    for seed in range(len(SEEDS)):
                        w, rate = plain_line(task, rule, seed, 0.05)
                        mine = flat(p[seed].T if p.shape[1] > 1 else p[seed] for p in line.params)
                        torch.testing.assert_close(mine, w, rtol=1e-3, atol=1e-4)
                        if rule != "hypergradient each":
                            self.assertAlmostEqual(line.rate[seed].item(), float(rate), delta=1e-3 * float(rate))
                    for p, first, before in zip(networks.params, networks.first,
                                                [t for layer in task.weights for t in layer]):
                        other = p.select(2 if first else 1, 0)
                        torch.testing.assert_close(other.reshape(before.shape), before)  # the other arm's rate was 0


@needed
class Verdict(unittest.TestCase):
    def test_win_equal_lose(self):
        one = numpy.array([1.0, 1.0, 1.0, 1.0])
        self.assertEqual(verdict.compare(one, one * 1.03), 1)
        self.assertEqual(verdict.compare(one * 1.03, one), -1)
        self.assertEqual(verdict.compare(one, one * 1.019), 0)
        # Ten per cent lower on average, and less than its standard error.
        self.assertEqual(verdict.compare(one, numpy.exp([1.0, -0.9, 0.8, -0.5])), 0)


if __name__ == "__main__":
    unittest.main()
