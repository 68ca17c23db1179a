"""The policy learned through the daemon: whose model a job has, that it keeps it, and what is refused."""
import os
import struct
import subprocess
import tempfile
import unittest
import zlib

from harness import BINARY, Daemon, DaemonTest, reason

LOSSES = [2.0 * 0.96**i for i in range(40)]
HEX = r"^[0-9a-f]{16}$"
FEATURES = ("ratio fast mid slow noise mid_by_noise slow_by_noise gap since_best rate rate_by_best rate_by_top done known reports "
            "action acted swing pace progress echo left").split()


def fnv(model):
    """The hash of a model: FNV-1a over the bits of its numbers."""
    numbers = [model["up"], model["down"], *model["weights"], *model["feature_lo"], *model["feature_hi"]]
    value = 0xcbf29ce484222325
    for byte in struct.pack("<Q%dd" % len(numbers), model["feature_set"], *numbers):
        value = (value ^ byte) * 0x100000001b3 % 2**64
    return "%016x" % value


def weights_file(model):
    """As greedylr-train writes it."""
    lines = ["greedylr-learned 1", "feature_set 1", "up %.17g" % model["up"], "down %.17g" % model["down"]]
    lines += ["feature %s %.17g %.17g %.17g" % row for row in zip(FEATURES, model["weights"], model["feature_lo"],
                                                                model["feature_hi"])]
    text = "\n".join([*lines, "bias %.17g" % model["weights"][-1], "seed 5", "config 0000abcd", "model " + fnv(model), ""])
    return text + "crc %08x\n" % zlib.crc32(text.encode())


OTHER = {"feature_set": 1, "up": 1.25, "down": 3.0, "weights": [0.125] + [0.0] * 21 + [0.25], "feature_lo": [-50.0] * 22,
         "feature_hi": [50.0] * 22}
MODEL = fnv(OTHER)


class Learned(DaemonTest):
    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder, self.path = folder.name, os.path.join(folder.name, "weights.txt")
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(weights_file(OTHER))

    def create(self, job, **learned):
        return self.d.ok("POST", "/v1/jobs", {"job": job, "lr": 0.1, "learned": learned})

    def report(self, job, losses):
        return [self.d.ok("POST", "/v1/jobs/%s:report" % job, {"loss": loss}) for loss in losses]

    def simulate(self, learned, losses=None):
        return self.d.ok("POST", "/v1/simulate", {"spec": {"lr": 0.1, "learned": learned}, "losses": losses or LOSSES})

    def test_the_model_is_a_setting_and_its_hash_is_shown(self):
        created = self.create("a", total_reports=40)
        learned = created["effective"]["learned"]
        self.assertRegex(learned["model"], HEX)
        self.assertEqual((len(learned["weights"]), len(learned["feature_lo"]), learned["feature_set"]), (23, 22, 1))
        self.assertEqual(created["spec"]["learned"], {"total_reports": 40})
        self.assertEqual(created["effective"]["on_nonfinite"], "bad")
        decisions = self.report("a", LOSSES)
        self.assertIn("model " + learned["model"], decisions[5]["reason"])
        simulated = self.simulate({"total_reports": 40})["decisions"]
        self.assertEqual([(d["lr"], d["reason"]) for d in simulated], [(d["lr"], d["reason"]) for d in decisions])
        # The numbers alone say everything: a replay needs nothing of this daemon.
        again = self.simulate({k: v for k, v in learned.items()})["decisions"]
        self.assertEqual([d["lr"] for d in again], [d["lr"] for d in decisions])

    def test_a_job_keeps_its_model_when_the_daemon_gets_another(self):
        old = self.create("old", total_reports=40)["effective"]["learned"]
        before = self.report("old", LOSSES[:20])
        self.d.flags = ["--learned-weights", self.path]
        d = self.d.restart()
        job = d.ok("GET", "/v1/jobs/old")
        self.assertEqual(job["effective"]["learned"], old)
        new = d.ok("POST", "/v1/jobs", {"job": "new", "lr": 0.1, "learned": {}})["effective"]["learned"]
        self.assertEqual(new["model"], MODEL)
        self.assertEqual({k: new[k] for k in OTHER}, OTHER)
        # The spec it was created with is still the same one.
        self.assertEqual(d.ok("POST", "/v1/jobs", {"job": "old", "lr": 0.1, "learned": {"total_reports": 40}})["uid"],
                         job["uid"])
        fork = d.ok("POST", "/v1/jobs/old:fork", {"step": 10, "spec": {"job": "fork"}})
        self.assertEqual(fork["effective"]["learned"], old)
        shadow = d.ok("POST", "/v1/jobs", {"job": "s", "lr": 0.1, "shadow": [{"name": "l", "learned": {}}]})
        self.assertEqual(shadow["effective"]["shadow"][0]["learned"]["model"], MODEL)
        after = [d.ok("POST", "/v1/jobs/old:report", {"loss": loss}) for loss in LOSSES[20:]]
        rates = [x["lr"] for x in before + after]
        d.ok("POST", "/v1/jobs/old:rewind", {"step": 12})
        again = [d.ok("POST", "/v1/jobs/old:report", {"loss": loss}) for loss in LOSSES[12:]]
        self.assertEqual([x["lr"] for x in again], rates[12:])
        self.d.flags = []
        self.d.restart()
        self.assertEqual(rates, [x["lr"] for x in self.simulate({"total_reports": 40})["decisions"]])

    def test_insisting_on_a_model(self):
        mine = self.create("m")["effective"]["learned"]["model"]
        self.create("n", model=mine)
        status, answer = self.d.call("POST", "/v1/jobs", {"job": "o", "lr": 0.1, "learned": {"model": MODEL}})
        self.assertEqual(status, 400)
        self.assertIn("spec.learned.model: must be %s, that of the model in force, got %s" % (mine, MODEL),
                      answer["message"])
        given = self.create("p", model=MODEL, **OTHER)["effective"]["learned"]
        self.assertEqual(given["model"], MODEL)

    def test_update(self):
        self.create("u", total_reports=40, noise_gate=0.1)
        self.report("u", LOSSES[:5])
        patched = self.d.ok("PATCH", "/v1/jobs/u", {"spec": {"learned": {"total_reports": 80}}})
        self.assertEqual(patched["effective"]["learned"]["total_reports"], 80)
        patched = self.d.ok("PATCH", "/v1/jobs/u", {"spec": {"learned": OTHER}})
        self.assertEqual(patched["effective"]["learned"]["model"], MODEL)
        status, answer = self.d.call("PATCH", "/v1/jobs/u", {"spec": {"learned": {"weights": [1, 2]}}})
        self.assertEqual(status, 400)
        self.assertIn("spec.learned.weights: must have 23 numbers", answer["message"])
        self.assertIn("model " + MODEL, self.report("u", LOSSES[5:6])[0]["reason"])

    def test_rounds_and_fall_back(self):
        self.d.ok("POST", "/v1/jobs", {"job": "r", "lr": 0.1, "learned": {}, "ranks": {"world_size": 2}})
        for step, loss in enumerate((2.0, 1.9, 0.0, 0.0), 1):
            first = self.d.ok("POST", "/v1/jobs:batchReport", {"reports": [
                {"job": "r", "step": step, "rank": 0, "loss": loss}]})
            self.assertTrue(first["results"][0]["pending"])
            decision = self.d.ok("POST", "/v1/jobs/r:report", {"step": step, "rank": 1, "loss": loss})
        self.assertIn("GreedyLR since step 3 (a loss that is not above 0)", decision["reason"])
        status, answer = self.d.call("GET", "/v1/jobs/r/state")
        self.assertEqual((status, reason(answer)), (400, "STATE_NOT_EXPORTABLE"))

    def test_weights_that_drive_the_rate_away(self):
        """GreedyLR takes over, in time to have lost nothing; killed, forked and rewound anywhere it comes out the same."""
        down = dict(OTHER, weights=[0.0] * 22 + [-5.0])
        greedy = self.d.ok("POST", "/v1/simulate", {"spec": {"lr": 0.1, "greedy": {"min_lr": 1e-5, "max_lr": 100}},
                                                    "losses": LOSSES[:16]})["decisions"]
        said = self.simulate(down, LOSSES[:16])["decisions"]
        self.assertIn("the model cuts and the loss did not rise (2 of 3): rate held", said[1]["reason"])
        self.assertIn("the model drives the rate away: GreedyLR takes over", said[2]["reason"])
        self.assertIn("GreedyLR since step 3 (the model drives the rate away)", said[3]["reason"])
        self.assertEqual([(d["lr"], d["action"]) for d in said[2:]], [(d["lr"], d["action"]) for d in greedy[2:]])
        self.create("w", **down)
        for step, loss in enumerate(LOSSES[:16]):
            self.assertEqual(self.report("w", [loss])[0]["reason"], said[step]["reason"])
            if step in (0, 1, 2, 11):
                self.d.kill()
                self.d.start()
        for step in (1, 2, 3, 10):
            name = "fork%d" % step
            self.d.ok("POST", "/v1/jobs/w:fork", {"step": step, "spec": {"job": name}})
            self.d.ok("POST", "/v1/jobs/w:rewind", {"step": step})
            for job in (name, "w"):
                again = self.report(job, LOSSES[step:16])
                self.assertEqual([d["lr"] for d in again], [d["lr"] for d in said[step:]], (job, step))

    def test_bad_weights_files(self):
        def start(text=None):
            path = os.path.join(self.folder, "bad.txt")
            if text is not None:
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)
            return subprocess.run([BINARY, "--check-config", "--data-dir", self.folder,
                                   "--learned-weights", path], capture_output=True, text=True, timeout=60)

        self.assertEqual(start(weights_file(OTHER)).returncode, 0)
        for text, says in ((weights_file(OTHER).replace("bias ", "bias 1"), "bad.txt:30: the hash of these numbers is"),
                           (weights_file(OTHER)[:200], "it was cut off"), ("", "bad.txt:1: the file ends"),
                           (weights_file(OTHER).replace("feature_set 1", "feature_set 9"), "train the model again")):
            done = start(text)
            self.assertEqual(done.returncode, 2, done)
            self.assertIn("--learned-weights", done.stderr + done.stdout)
            self.assertIn(says, done.stderr + done.stdout)
        for make, says in ((os.mkfifo, "not a regular file"), (os.mkdir, "not a regular file"), (lambda _: None, "No such file")):
            path = os.path.join(self.folder, "bad.txt")
            os.rmdir(path) if os.path.isdir(path) else os.unlink(path)
            make(path)
            done = start()
            self.assertEqual(done.returncode, 2, done)
            self.assertIn(says, done.stderr + done.stdout)


if __name__ == "__main__":
    unittest.main()
