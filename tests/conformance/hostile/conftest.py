"""Fixtures of the hostile runs: a good reader beside a bare floor while something goes wrong, memory before and after, one table at the end.

`--long` runs what takes minutes: more rounds, more connections. What is timed decides only there and with `--strict-times`: a
machine that others use, as in CI, is late by itself. That everything is answered, memory comes back and nothing is lost
decides always.
"""
import inspect
import json
import resource
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from elsewhere import ELSEWHERE
from harness import free_port

HERE = Path(__file__).parent
GOOD = "127.0.0.9"
CHANNELS = {"http", "websocket", "udp", "modbus"}
# A good reader's 99th percentile, ms, on every channel and throughout. A machine that is slower than this by itself (its
# floor) is given three times what the floor took.
BAR = 100.0
# The same where time does not decide: an answer that comes at all, in a time in which no client has given up.
LENIENT = 3000.0
# MB that may stay after everything was closed.
STAYS = 20
ROW = "a row of the table"
COLUMNS = ["no", "case", *(f"{name} p99 ms" for name in ("http", "websocket", "udp", "modbus", "floor")), "longest ms", "MB", "lost", "note"]


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="the long form: minutes instead of seconds a case")
    parser.addoption("--strict-times", action="store_true", help="what is timed decides, as in the long form")


def pytest_configure(config):
    # Thousands of connections: as many files as this process may have.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def pytest_collection_modifyitems(config, items):
    for item in items:
        # With two workers (`-n 2 --dist loadgroup`) what is timed has one of them, and what mostly waits the other.
        timed = "reading(" in inspect.getsource(item.function)
        item.add_marker(pytest.mark.xdist_group("timed" if timed else "waits"))
        if config.getoption("--long"):
            item.add_marker(pytest.mark.timeout(3600))


def pytest_terminal_summary(terminalreporter, config):
    reports = [report for all_of in terminalreporter.stats.values() for report in all_of if getattr(report, "when", "") == "call"]
    rows = [row for report in reports for name, row in report.user_properties if name == ROW]
    if not rows:
        return
    terminalreporter.section("hostile: by the numbers of what can go wrong, the good reader's times beside a bare floor's")
    whole = not config.getoption("-k") and all("::" not in str(arg) for arg in config.args)
    rows = sorted(rows + (ELSEWHERE if whole else []), key=lambda row: (int(row.get("no", 99)), row["case"]))
    names = list(dict.fromkeys([*COLUMNS, *(key for row in rows for key in row)]))
    for row in [dict(zip(names, names)), dict.fromkeys(names, "---"), *rows]:
        terminalreporter.write_line("| " + " | ".join(str(row.get(name, "")) for name in names) + " |")


@pytest.fixture
def long(request):
    return request.config.getoption("--long")


@pytest.fixture
def strict(request):
    """Whether what is timed decides."""
    return request.config.getoption("--long") or request.config.getoption("--strict-times")


@pytest.fixture
def row(request):
    """Adds a row to the table at the end: `row(no=…, case=…, …)`."""
    return lambda **cells: request.node.user_properties.append((ROW, cells))


@pytest.fixture
def new_meter(new_meter):
    """The good reader only looks: on a machine so slow that its questions come as far apart as a battery's, they would be paced as one's."""
    return lambda options=None, **how: new_meter({"scaling_viewers": [GOOD], **(options or {})}, **how)


@pytest.fixture(autouse=True)
def _times(strict):
    Measured.strict = strict


@dataclass
class Measured:
    """Answers of the good reader: times in ms by channel, and failures with their reasons."""

    took: dict
    failed: dict
    strict = True

    def p99(self, channel):
        times = sorted(self.took[channel])
        return times[min(len(times) - 1, int(len(times) * 0.99))] if times else float("inf")

    def cells(self):
        cells = {f"{name} p99 ms": f"{self.p99(name):.1f}" for name in self.took}
        return {**cells, "longest ms": f"{max((t for name, times in self.took.items() if name != 'floor' for t in times), default=0):.0f}"}

    def check(self):
        """Every channel answered throughout, within the bar."""
        assert CHANNELS | {"floor"} == set(self.took), f"asked on {set(self.took)}"
        failures = {name: why for name, why in self.failed.items() if why and name != "floor"}
        assert not failures, failures
        bar = max(BAR, 3 * self.p99("floor")) if self.strict else max(LENIENT, 10 * self.p99("floor"))
        late = {name: self.p99(name) for name in self.took if name != "floor" and self.p99(name) > bar}
        assert not late, f"bar {bar:.0f} ms, floor {self.p99('floor'):.1f} ms, late: {late}, answers: {({n: len(t) for n, t in self.took.items()})}"


def child(script, *args):
    process = subprocess.Popen([sys.executable, str(HERE / script), *map(str, args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


@contextmanager
def reading(meter):
    """The good reader reads this meter while the block runs; yields what is filled in at its end."""
    port, measured = free_port(), Measured({}, {})
    floor = child("floor.py", port)
    try:
        reader = child("good_reader.py", json.dumps({
            "source": GOOD, "http": meter.http_port, "modbus": meter.modbus_port, "udp": meter.udp_ports[0], "floor": port}))
        try:
            yield measured
            out, _ = reader.communicate(timeout=60)
            said = json.loads(out.strip().splitlines()[-1])
            measured.took, measured.failed = said["took"], said["failed"]
        finally:
            reader.kill()
            reader.wait()
    finally:
        floor.kill()
        floor.wait()


def resident(meter):
    """Resident memory of the process, MB."""
    status = Path(f"/proc/{meter.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def threads(meter):
    return len(list(Path(f"/proc/{meter.process.pid}/task").iterdir()))


def settles(value, below, seconds):
    """Wait until a measured value is below a bound; returns the last one."""
    deadline = time.monotonic() + seconds
    while (now := value()) > below and time.monotonic() < deadline:
        time.sleep(0.2)
    return now
