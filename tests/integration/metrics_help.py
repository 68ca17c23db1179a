"""The metrics as tests read them: the table in the source, what a daemon prints, and Prometheus' own parsers."""
import os
import re

from harness import ROOT

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
#: As Prometheus 2 sends it.
PROMETHEUS_2 = ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
                "text/plain;version=0.0.4;q=0.5,*/*;q=0.1")
#: As Prometheus 3 sends it.
PROMETHEUS_3 = ("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
                "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
                "text/plain;version=0.0.4;q=0.3,*/*;q=0.2")
HEADER = os.path.join(ROOT, "daemon", "server", "metrics.h")


def table():
    """The rows of METRICS: (name, type, labels as a list, help)."""
    with open(HEADER) as f:
        text = re.sub(r"\s*\\\n\s*", " ", f.read())
    rows = re.findall(r'X\([A-Z_]+, "([a-z_]+)", "([a-z]+)", (?:NULL|"([a-z_,]+)"), "((?:[^"]|" ")*)"\)', text)
    assert len(rows) == len(re.findall(r" X\([A-Z]", text)), "a row of METRICS is not understood"
    return [(name, kind, labels.split(",") if labels else [], help.replace('" "', "")) for name, kind, labels, help in rows]


def samples(text):
    """{'name{labels}': value} of either format."""
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if not line.startswith("#")}


def scrape(d, accept=None, headers=None):
    """(content type, samples, text)"""
    status, got, body = d.request("GET", "/metrics", headers=dict(headers or {}, **({"Accept": accept} if accept else {})))
    assert status == 200, body
    return got["content-type"], samples(body.decode()), body.decode()
