"""What is written first when such a service is needed, for `make bench`: http.server and SQLite, a commit each.

    peer_sqlite.py FILE          listens on a free port of 127.0.0.1 and prints it
"""
import http.server
import json
import re
import sqlite3
import sys
import threading

database = sqlite3.connect(sys.argv[1], check_same_thread=False, isolation_level=None)
database.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                       "CREATE TABLE IF NOT EXISTS jobs (job TEXT PRIMARY KEY, step INT, bad INT, best REAL, lr REAL);"
                       "CREATE TABLE IF NOT EXISTS decisions (job TEXT, step INT, loss REAL, lr REAL)")
lock = threading.Lock()


def decide(job, loss):
    with lock:
        database.execute("BEGIN IMMEDIATE")
        row = database.execute("SELECT step, bad, best, lr FROM jobs WHERE job = ?", (job,)).fetchone()
        step, bad, best, lr = row or (0, 0, float("inf"), 0.1)
        step, bad, best = step + 1, 0 if loss < best else bad + 1, min(loss, best)
        if bad > 10:
            lr, bad = lr * 0.9, 0
        database.execute("INSERT OR REPLACE INTO jobs VALUES (?, ?, ?, ?, ?)", (job, step, bad, best, lr))
        database.execute("INSERT INTO decisions VALUES (?, ?, ?, ?)", (job, step, loss, lr))
        database.execute("COMMIT")
    return {"job": job, "step": step, "lr": lr, "num_bad": bad}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_POST(self):
        name = re.match(r"/v1/jobs/([^/:]+):report$", self.path)
        try:
            loss = float(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["loss"])
            status, text = 200, json.dumps(decide(name[1], loss)).encode()
        except (ValueError, KeyError, TypeError):
            status, text = 400, b"{}"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 4096
    daemon_threads = True


server = Server(("127.0.0.1", 0), Handler)
print("127.0.0.1:%d" % server.server_address[1], flush=True)
server.serve_forever()
