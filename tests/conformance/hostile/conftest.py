"""Fixtures of the hostile runs: a good reader beside a bare floor while something goes wrong, memory before and after, one table at the end.

`--long` runs what takes minutes: more rounds, more connections.
"""
import json
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import free_port

HERE = Path(__file__).parent
# A good reader's 99th percentile, ms, on every channel and throughout. A machine that is slower than this by itself (its
# floor) is given three times what the floor took.
BAR = 100.0
ROWS = pytest.StashKey[list]()


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="the long form: minutes instead of seconds a case")


def pytest_configure(config):
    config.stash[ROWS] = []


def pytest_terminal_summary(terminalreporter, config):
    rows = config.stash[ROWS]
    if not rows:
        return
    names = list(dict.fromkeys(key for row in rows for key in row))
    terminalreporter.section("hostile")
    for row in [dict(zip(names, names)), dict.fromkeys(names, "---"), *rows]:
        terminalreporter.write_line("| " + " | ".join(str(row.get(name, "")) for name in names) + " |")


@pytest.fixture
def long(request):
    return request.config.getoption("--long")


@pytest.fixture
def row(request):
    """Adds a row to the table at the end: `row(case=…, …)`."""
    return lambda **cells: request.config.stash[ROWS].append(cells)


@dataclass
class Measured:
    """Answers of the good reader: times in ms by channel, and failures with their reasons."""

    took: dict
    failed: dict

    def p99(self, channel):
        times = sorted(self.took[channel])
        return times[min(len(times) - 1, int(len(times) * 0.99))] if times else float("inf")

    def cells(self):
        cells = {f"{name} p99 ms": f"{self.p99(name):.1f}" for name in self.took}
        return {**cells, "longest ms": f"{max((t for name, times in self.took.items() if name != 'floor' for t in times), default=0):.0f}"}

    def check(self):
        """Every channel answered throughout, within the bar."""
        failures = {name: why for name, why in self.failed.items() if why and name != "floor"}
        assert not failures, failures
        bar = max(BAR, 3 * self.p99("floor"))
        late = {name: self.p99(name) for name in self.took if name != "floor" and self.p99(name) > bar}
        assert not late, f"bar {bar:.0f} ms, floor {self.p99('floor'):.1f} ms, late: {late}, answers: {({n: len(t) for n, t in self.took.items()})}"


def child(script, *args):
    process = subprocess.Popen([sys.executable, str(HERE / script), *map(str, args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


@contextmanager
def reading(meter, source="127.0.0.9"):
    """The good reader reads this meter while the block runs; yields what is filled in at its end."""
    port, measured = free_port(), Measured({}, {})
    floor = child("floor.py", port)
    try:
        reader = child("good_reader.py", json.dumps({
            "source": source, "http": meter.http_port, "modbus": meter.modbus_port, "udp": meter.udp_ports[0], "floor": port}))
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
