"""Clients that report in a loop, a connection for each report, while a daemon is restarted under them.

    load.py PORT SECONDS [TOKEN_FILE]       (as a program: prints what it counted, as JSON)

Each has a job of its own and repeats a report until it is answered, as the clients of the project do.
"""
import http.client
import json
import random
import sys
import threading
import time


class Load:
    def __init__(self, port, clients=4, prefix="load", token=None):
        self.port, self.prefix = port, prefix
        self.headers = {"Authorization": "Bearer " + token} if token else {}
        self.refused = self.unanswered = self.unavailable = 0
        self.last = ""
        self.unexpected, self.reports, self.decided = [], {}, {}
        self._lock, self._end = threading.Lock(), threading.Event()
        self._threads = [threading.Thread(target=self._client, args=(n,), daemon=True) for n in range(clients)]

    def start(self):
        for thread in self._threads:
            thread.start()
        return self

    def stop(self):
        self._end.set()
        for thread in self._threads:
            thread.join(60)
            if thread.is_alive():
                self.unexpected.append("a client hangs")
        return self

    def count(self):
        with self._lock:
            return sum(len(decided) for decided in self.decided.values())

    def counts(self):
        return {"decided": self.count(), "refused": self.refused, "unanswered": self.unanswered,
                "unavailable": self.unavailable, "unexpected": self.unexpected[:5], "last": self.last}

    def _client(self, n):
        job, rng = "%s-%d" % (self.prefix, n), random.Random(n)
        self.reports[job], self.decided[job] = [], []
        while not self._end.is_set() and not self.unexpected:
            loss = 2.0 / (1 + len(self.reports[job])) + 0.05 * rng.random()
            report = {"step": len(self.reports[job]) + 1, "loss": loss, "lr": 0.1}
            self.reports[job].append(report)
            answer = self._until_answered(job, report)
            if answer is None:
                self.reports[job].pop()  # it may have been decided; nobody knows
                return
            with self._lock:
                self.decided[job].append(answer)

    def _until_answered(self, job, report):
        end = time.monotonic() + 30
        while time.monotonic() < end:
            try:
                status, answer = self.report(job, report)
            except ConnectionRefusedError:
                self._add("refused")
            except (OSError, http.client.HTTPException) as why:
                self._add("unanswered")
                self.last = repr(why)
            else:
                if status == 200:
                    return answer
                if status != 503:
                    self.unexpected.append((job, report, status, answer))
                    return None
                self._add("unavailable")
            time.sleep(0.005)
        self.unexpected.append((job, report, "no answer within 30 s"))
        return None

    def _add(self, what):
        with self._lock:
            setattr(self, what, getattr(self, what) + 1)

    def report(self, job, report):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", "/v1/jobs/%s:report" % job, json.dumps(report), self.headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def wrong(self):
        """Decisions that are not those of a job with the same reports in one go; to be called when all is quiet."""
        found = []
        for job, decided in self.decided.items():
            for report, before in zip(self.reports[job], decided):
                _, after = self.report(job + "-again", report)
                for field in ("step", "revision", "lr", "action", "reason", "stage"):
                    if before.get(field) != after.get(field):
                        found.append((job, report, field, before, after))
        return found


def main():
    token = None
    if len(sys.argv) > 3:
        with open(sys.argv[3], encoding="utf-8") as f:
            token = f.read().strip()
    load = Load(int(sys.argv[1]), token=token).start()
    time.sleep(float(sys.argv[2]))
    load.stop()
    print(json.dumps(dict(load.counts(), wrong=load.wrong()[:3])))


if __name__ == "__main__":
    main()
