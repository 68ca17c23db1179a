"""The recipes: run where a machine has the framework, held against the package's signatures everywhere, shown in the README."""
import ast
import inspect
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from harness import BINARY, ROOT, free_port
from python_help import PACKAGE, RunTest, have, needs

BUILD = os.path.dirname(BINARY)
RECIPES = os.path.join(ROOT, "client", "examples", "recipes")

#: Modules that a recipe in Python needs.
PYTHON = {
    "plain_python.py": [],
    "pytorch_ddp.py": ["torch"],
    "hf_trainer.py": ["torch", "transformers"],
    "lightning_fit.py": ["torch", "lightning"],
    "keras_fit.py": ["keras"],
    "jax_optax.py": ["jax", "optax"],
    "deepspeed_engine.py": ["torch", "deepspeed"],
}
OTHERS = ["train.cpp", "train.sh"]
#: Those that have not run in their frameworks yet.
UNTRIED = {"keras_fit.py", "deepspeed_engine.py"}

#: Two ranks as a launcher starts them, twice, but forked off a process that has imported torch already.
TWO_RANKS = """
import os, runpy, signal, sys
import torch
script, checkpoint, *ports = sys.argv[1:]

# Where torch 1.13 drops the last reference to a gloo group it joins, with the GIL, a thread that may be waiting for the GIL.
kept, init = [], torch.nn.parallel.DistributedDataParallel.__init__
torch.nn.parallel.DistributedDataParallel.__init__ = lambda self, *args, **more: (kept.append(self), init(self, *args, **more))[1]

for port, epochs in zip(ports, ("6", "10")):
    children = []
    for rank in range(2):
        child = os.fork()
        if child == 0:
            signal.alarm(280)  # one that hangs would outlive the test
            os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
            sys.argv, code = [script, "recipe", checkpoint, epochs], 1
            try:
                runpy.run_path(script, run_name="__main__")
                code = 0
            finally:
                sys.stdout.flush()
                sys.excepthook(*sys.exc_info()) if code else None
                os._exit(code)
        children.append(child)
    if any(os.waitpid(child, 0)[1] for child in children):
        sys.exit("a rank failed")
"""


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


class Runs(RunTest):
    """Each recipe against a fresh daemon, in a directory of its own."""

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def sh(self, *command):
        env = dict(os.environ, GREEDYLR_URL=self.url, PATH=BUILD + ":" + os.environ["PATH"], PYTHONPATH=PACKAGE, OMP_NUM_THREADS="1",
                   GLOO_SOCKET_IFNAME="lo", PYTHONDONTWRITEBYTECODE="1")
        done = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def decided(self, steps):
        """The history has these steps, and its rates are those of an uninterrupted run; they moved."""
        counted = self.counted("recipe")
        self.assertEqual([d["step"] for d in counted], list(steps))
        spec = self.d.ok("GET", "/v1/jobs/recipe")["spec"]
        self.assertEqual(spec["greedy"], {"patience": 2})
        want = self.d.ok("POST", "/v1/simulate", {"spec": spec, "losses": [d["value"] for d in counted]})
        self.assertEqual([d["lrs"] for d in counted], [d["lrs"] for d in want["decisions"]])
        self.assertFalse(any(d["applied_mismatch"] for d in counted))
        self.assertNotEqual(counted[0]["lr"], counted[-1]["lr"])
        self.assertLess(counted[-1]["value"], counted[0]["value"])
        return counted

    def script(self, name):
        """Runs a recipe in Python as its first lines say; its last line tells the rate of the last decision."""
        last = self.sh(sys.executable, os.path.join(RECIPES, name), "recipe").splitlines()[-1]
        self.assertIn("rate %.3g" % self.counted("recipe")[-1]["lr"], last)

    def test_plain_python(self):
        self.script("plain_python.py")
        self.decided(range(1, 11))

    def test_bash(self):
        said = self.sh(os.path.join(RECIPES, "train.sh"), "recipe")
        self.assertEqual(len(said.splitlines()), 10)
        self.decided(range(1, 11))

    def test_cpp(self):
        with open(os.path.join(BUILD, "libgreedylr.so"), "rb") as library:
            sanitized = ["-fsanitize=address"] * (b"__asan_init" in library.read())
        self.sh("c++", "-std=c++11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I" + os.path.join(ROOT, "client", "lib"), *sanitized,
                os.path.join(RECIPES, "train.cpp"), "-o", "train", "-L" + BUILD, "-lgreedylr", "-Wl,-rpath," + BUILD)
        said = self.sh("./train", "recipe")
        self.assertIn("rate %.3g" % self.decided(range(1, 11))[-1]["lr"], said.splitlines()[-1])

    @needs("torch")
    def test_pytorch_ddp(self):
        """Two ranks; then again, from the checkpoint of epoch 6 to 10."""
        self.sh(sys.executable, "-c", TWO_RANKS, os.path.join(RECIPES, "pytorch_ddp.py"), "recipe.pt", str(free_port()), str(free_port()))
        self.assertEqual([d["attempt"] for d in self.decided(range(1, 11))], [0] * 6 + [1] * 4)

    @needs("transformers")
    def test_transformers(self):
        self.script("hf_trainer.py")
        self.decided(range(5, 51, 5))

    @needs("lightning")
    def test_lightning(self):
        self.script("lightning_fit.py")
        self.decided(range(4, 41, 4))

    @needs("keras")
    def test_keras(self):
        self.script("keras_fit.py")
        self.decided(range(1, 11))

    @unittest.skipUnless(have("jax") and have("optax"), "jax or optax is not installed")
    def test_jax(self):
        self.script("jax_optax.py")
        self.decided(range(1, 11))

    @needs("deepspeed")
    def test_deepspeed(self):
        """One process: DeepSpeed takes its rendezvous from the environment as torch does."""
        self.sh("env", "RANK=0", "LOCAL_RANK=0", "WORLD_SIZE=1", "MASTER_ADDR=127.0.0.1", "MASTER_PORT=%d" % free_port(), sys.executable,
                os.path.join(RECIPES, "deepspeed_engine.py"), "recipe")
        self.decided(range(1, 11))


class Package:
    """The package's classes as its sources declare them: importing the adapters would import the frameworks."""

    def __init__(self):
        self.modules = {}
        for name in sorted(os.listdir(os.path.join(PACKAGE, "greedylr"))):
            if name.endswith(".py"):
                self.modules[name[:-3]] = ast.parse(read("client", "python", "greedylr", name))

    def defines(self, module, name):
        return next((node for node in self.modules[module].body if isinstance(node, ast.ClassDef) and node.name == name), None)

    def find(self, module, name):
        """The class that `from MODULE import NAME` brings, following the package's own __init__."""
        if module == "greedylr":
            found = [self.defines(where, name) for where in ("client", "scheduler", "session", "errors")]
            return next((node for node in found if node is not None), None)
        return self.defines(module.split(".", 1)[1], name)

    def options(self):
        """Names that **options of the adapters takes on: of Session and of GreedyLR."""
        both = (self.defines("session", "Session"), self.defines("scheduler", "GreedyLR"))
        return {name for one in both for name in signature(method(one, "__init__")).parameters}

    def attributes(self, cls):
        """What instances of the class have."""
        names = {node.name for node in cls.body if isinstance(node, ast.FunctionDef)}
        for node in ast.walk(cls):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and getattr(node.value, "id", "") == "self":
                names.add(node.attr)
        return names


def method(cls, name):
    return next((node for node in cls.body if isinstance(node, ast.FunctionDef) and node.name == name), None)


def signature(function):
    """As inspect has it, without self."""
    given, kind = function.args, inspect.Parameter
    plain = given.posonlyargs + given.args
    first_default = len(plain) - len(given.defaults)
    parameters = [kind(a.arg, kind.POSITIONAL_OR_KEYWORD, default=kind.empty if i < first_default else None)
                  for i, a in enumerate(plain)][1:]
    parameters += [kind(a.arg, kind.KEYWORD_ONLY, default=kind.empty if d is None else None)
                   for a, d in zip(given.kwonlyargs, given.kw_defaults)]
    if given.kwarg:
        parameters.append(kind(given.kwarg.arg, kind.VAR_KEYWORD))
    return inspect.Signature(parameters)


class Signatures(unittest.TestCase):
    """What a recipe uses of the package is there, and is called as it is declared."""
    package = Package()

    def call(self, where, declared, node):
        """A call of theirs fits the declaration."""
        self.assertIsNotNone(declared, where)
        bound = signature(declared).bind(*node.args, **{k.arg: k.value for k in node.keywords})
        rest = next((p.name for p in signature(declared).parameters.values() if p.kind is p.VAR_KEYWORD), "")
        self.assertLessEqual(set(bound.arguments.get(rest, {})), self.package.options(), where)

    def problems(self, text):
        """Checks a recipe; raises where it does not fit."""
        tree, classes, objects, used = ast.parse(text), {}, {}, 0
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "greedylr":
                for alias in node.names:
                    classes[alias.name] = self.package.find(node.module, alias.name)
                    self.assertIsNotNone(classes[alias.name], alias.name)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in classes:
                self.call(node.func.id, method(classes[node.func.id], "__init__"), node)
                used += 1
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and getattr(node.value.func, "id", "") in classes:
                objects[node.targets[0].id] = classes[node.value.func.id]
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") in objects:
                self.assertIn(node.attr, self.package.attributes(objects[node.value.id]), node.value.id)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and getattr(node.func.value, "id", "") in objects:
                self.call(node.func.attr, method(objects[node.func.value.id], node.func.attr), node)
        self.assertGreater(used, 0)

    def test_every_recipe_fits_the_package(self):
        for name in PYTHON:
            with self.subTest(name):
                self.problems(read("client", "examples", "recipes", name))

    def test_what_does_not_fit_is_found(self):
        ddp, keras = (read("client", "examples", "recipes", name) for name in ("pytorch_ddp.py", "keras_fit.py"))
        for text, old, new in ((ddp, "import GreedyLR", "import GreedyLRX"), (ddp, "weight=len", "wait=len"), (ddp, "patience=2", "patients=2"),
                               (ddp, "scheduler.flush()", "scheduler.flash()"), (ddp, "get_last_lr()[0]", "get_last_lr(1)[0]"),
                               (keras, "patience=2", "patients=2"), (keras, "job=job, ", "")):
            self.assertIn(old, text)
            with self.assertRaises((AssertionError, TypeError), msg=new):
                self.problems(text.replace(old, new))


class Readme(unittest.TestCase):
    """What the README shows of the recipes is what the files say."""

    def test_every_file_is_known_and_shown(self):
        files = {name for name in os.listdir(RECIPES) if not name.startswith((".", "__"))}
        self.assertEqual(files, set(PYTHON) | set(OTHERS))
        self.assertEqual(set(self.shown()), files)

    def shown(self):
        """File -> the block below its link."""
        text = read("README.md").split("\n## Recipes\n")[1].split("\n## ")[0]
        return dict(re.findall(r"\]\(client/examples/recipes/([\w.]+)\)[^\n]*\n(?:[^`\n][^\n]*\n)*\n```\w+\n(.*?)^```$", text, re.M | re.S))

    def test_lines_are_the_files(self):
        """Verbatim but for indentation, in the file's order; a line of dots stands for lines left out."""
        for name, block in self.shown().items():
            lines = [line.strip() for line in read("client", "examples", "recipes", name).splitlines()]
            at = 0
            for part in re.split(r"^(?:#|//)? *\.\.\.$", block, flags=re.M):
                wanted = [line.strip() for line in part.strip("\n").splitlines()]
                found = next((i for i in range(at, len(lines)) if lines[i:i + len(wanted)] == wanted), None)
                self.assertIsNotNone(found, "%s has no such lines:\n%s" % (name, part))
                at = found + len(wanted)

    def test_it_says_which_have_not_run(self):
        text = read("README.md").split("\n## Recipes\n")[1].split("\n## ")[0]
        untried = re.search(r"have not run yet[^:]*: ([^.]*)\.", text.replace("\n", " "))
        self.assertIsNotNone(untried)
        for name in PYTHON:
            title = re.search(r"^\*\*([^*\n]+)\*\*[^\n]*recipes/%s\)" % re.escape(name), text, re.M).group(1)
            self.assertEqual(title in untried.group(1), name in UNTRIED, title)


if __name__ == "__main__":
    unittest.main()
