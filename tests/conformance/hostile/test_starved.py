"""Somebody takes all of a resource: connections, downloads, pages, memory, the log, the disk. The good reader must not notice."""
import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
import time

import pytest

import history
from conftest import STAYS, reading, resident, settles, threads
from harness import LOCAL, fetch, until

RECORD_FIGURES = 3 * 13 + 3


@contextlib.contextmanager
def sockets():
    """Connections that are closed at the end, each from an address of its own choice."""
    opened = []

    def connect(port, source, send=b""):
        s = socket.socket()
        opened.append(s)
        s.bind((source, 0))
        s.settimeout(5)
        s.connect((LOCAL, port))
        if send:
            s.sendall(send)
        return s
    try:
        yield connect
    finally:
        for s in opened:
            s.close()


@pytest.fixture
def in_use(grid):
    """A meter with its value, and the scripted Home Assistant that goes on telling new ones."""
    ha, meter = grid
    stop = threading.Event()

    def tell():
        n = 0
        while not stop.wait(1):
            n += 1
            ha.set("sensor.grid", str(500 + n % 7))
    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    yield ha, meter
    stop.set()
    teller.join()


def with_records(meter, days):
    """Minute records of many days: what a download of all of them is made of."""
    meter.stop()
    blob = bytes([1]) + bytes([0x90, 0x4E] * RECORD_FIGURES)
    end = int(time.time()) // 60 * 60 - 120
    with contextlib.closing(sqlite3.connect(next(meter.data.glob("*.db")))) as db, db:
        db.executemany("INSERT OR REPLACE INTO records(meter, ts, rec) VALUES(1, ?, ?)", ((end - 60 * n, blob) for n in range(days * 1440)))
    history.seed(next(meter.data.glob("*.db")), history.samples(repeat=7))
    meter.start()
    until(lambda: meter.get("/healthz").status == 200, 10)


CSV = b"GET /emdata/0/data.csv?add_keys=true HTTP/1.1\r\nHost: meter.local\r\n\r\n"


def test_unread_downloads(in_use, long, row):
    """Downloads that are asked for and never read: 64 from one address, in the long form 600 from twelve."""
    _, meter = in_use
    with_records(meter, 60)
    addresses = [f"127.0.0.{n}" for n in range(20, 32 if long else 21)]
    before = resident(meter)
    with sockets() as connect, reading(meter) as good:
        for address in addresses:
            for _ in range(50 if long else 64):
                with contextlib.suppress(OSError):
                    connect(meter.http_port, address, CSV)
        time.sleep(20 if long else 8)  # how long they go unread
        most, tasks = resident(meter), threads(meter)
    after = settles(lambda: resident(meter), before + STAYS, 30)
    row(no=7, case=f"{len(addresses) * (50 if long else 64)} unread downloads", **good.cells(), MB=f"{before:.0f} → {most:.0f} → {after:.0f}", note=f"{tasks} threads")
    good.check()
    assert tasks < 64 and after <= before + STAYS


def test_one_honest_download_after_the_other(in_use, row):
    """A collector that takes the whole history again and again, as fast as it comes."""
    _, meter = in_use
    with_records(meter, 60)
    sizes = []
    with reading(meter) as good:
        end = time.monotonic() + 10
        while time.monotonic() < end:
            answer = meter.get("/emdata/0/data.csv?add_keys=true", source="127.0.0.20", timeout=60)
            assert answer.status == 200, answer.status
            sizes.append(len(answer.text))
    row(no=7, case=f"{len(sizes)} downloads of {sizes[0] / 1e6:.0f} MB, one after the other", **good.cells())
    good.check()
    assert len(set(sizes)) <= 3, "each is whole"


def test_pages_and_history_in_loops(in_use, row):
    """Eight browsers that reload charts and pages without a pause."""
    _, meter = in_use
    with_records(meter, 60)
    statuses, stop = {}, threading.Event()

    def browse(paths):
        while not stop.is_set():
            for path in paths:
                with contextlib.suppress(OSError):
                    status = fetch(meter.dashboard_port, "GET", path, timeout=30).status
                    statuses[status] = statuses.get(status, 0) + 1
    browsers = [threading.Thread(target=browse, args=(["/chart.json?range=30d", "/energy", "/forecast", "/chart.json?range=24h", "/health"],))
                for _ in range(8)]
    with reading(meter) as good:
        for b in browsers:
            b.start()
        time.sleep(10)
        stop.set()
        for b in browsers:
            b.join()
    row(no=7, case=f"{sum(statuses.values())} pages and charts by eight browsers", **good.cells())
    good.check()
    assert set(statuses) <= {200, 503} and statuses[200] > 50, statuses


def test_strangers_that_connect_and_say_nothing(in_use, long, row):
    """More connections than the listener may hold, which never ask: those that work stay, and the memory comes back."""
    _, meter = in_use
    before = resident(meter)
    count = 10_000 if long else 3_000
    with reading(meter) as good:
        with sockets() as connect:
            for n in range(count):
                with contextlib.suppress(OSError):
                    connect(meter.http_port, f"127.0.{1 + n % 40}.{1 + n // 40 % 200}")
                if n % 500 == 499:  # no more open at a time than a process may have
                    time.sleep(0.2)
            most = resident(meter)
        time.sleep(1)
    after = settles(lambda: resident(meter), before + STAYS, 30)
    row(no=11, case=f"{count} connections that say nothing", **good.cells(), MB=f"{before:.0f} → {most:.0f} → {after:.0f}")
    good.check()
    assert after <= before + STAYS


def test_a_log_that_nobody_reads(new_meter, fake_ha, row):
    """Standard error is a pipe that nobody drains: the meter answers, and still ends when it is told to."""
    fake_ha.set("sensor.grid", "512")
    meter = new_meter({"total_power": "sensor.grid", "log_level": "trace"}, ha=fake_ha)
    read, write = os.pipe()
    # Full from the first line on, as a pipe is whose reader has hung for a while.
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    os.write(write, b"." * 4000)
    meter.data.mkdir(parents=True, exist_ok=True)
    meter.options_file.write_text(json.dumps(meter.options))
    meter.process = subprocess.Popen(meter.command(), stdin=subprocess.DEVNULL, stdout=write, stderr=write,
                                     env=meter.environment(), start_new_session=True)
    os.close(write)
    try:
        until(lambda: meter.alive(meter.http_port), 15)
        meter.until_total(512, 5)
        with reading(meter) as good:
            for n in range(100):
                fake_ha.set("sensor.grid", str(600 + n))
                for _ in range(20):
                    meter.get("/rpc/No.Such?x=" + "y" * 200, source="127.0.0.20")
        row(no=9, case="a log that nobody reads", **good.cells())
        good.check()
        meter.process.send_signal(signal.SIGTERM)
        assert meter.process.wait(10) == 0
    finally:
        os.close(read)


@pytest.fixture
def disk(tmp_path):
    """A small file system of its own, which can be frozen."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("mkfs.ext4", "fsfreeze", "mount"))):
        pytest.skip("only root can make and mount a file system")
    image, at = tmp_path / "disk.img", tmp_path / "disk"
    at.mkdir()
    subprocess.run(["truncate", "-s", "96M", image], check=True)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    if subprocess.run(["mount", "-o", "loop", image, at], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("no loop device here")
    yield at
    subprocess.run(["fsfreeze", "-u", at], stderr=subprocess.DEVNULL)
    subprocess.run(["umount", "-l", at], check=True)


def test_a_disk_that_hangs(new_meter, fake_ha, disk, row):
    """A card that answers no write any more: readers are served, pages and changes end within seconds, /healthz says it, SIGTERM ends."""
    fake_ha.set("sensor.grid", "512")
    meter = new_meter({"total_power": "sensor.grid", "store_interval": 10}, ha=fake_ha)
    meter.data = disk / "data"
    meter.start()
    meter.until_total(512, 5)
    until(lambda: meter.get("/healthz").status == 200, 10)
    with_records(meter, 30)
    meter.until_total(512, 10)
    took, failed = {}, {}

    def ask(name, do):
        began = time.monotonic()
        try:
            failed[name] = do()
        finally:
            took[name] = time.monotonic() - began

    def page(path):
        return lambda: fetch(meter.dashboard_port, "GET", path, timeout=15)

    subprocess.run(["fsfreeze", "-f", disk], check=True)
    try:
        with reading(meter) as good:
            # Before anybody knows that it hangs, and after.
            for when in ("at first", "later"):
                for path in ("/", "/energy", "/forecast", "/readers", "/health", "/settings", "/chart.json?range=24h", "/energy.json"):
                    ask(f"{path} {when}", page(path))
                ask(f"csv {when}", lambda: meter.get("/emdata/0/data.csv", timeout=15))
                ask(f"history {when}", lambda: meter.post("/rpc/EMData.GetData", {"id": 0, "ts": 0}, timeout=15))
                ask(f"records {when}", lambda: meter.post("/rpc/EMData.GetRecords", {"id": 0}, timeout=15))
                ask(f"key {when}", lambda: meter.post("/rpc/KVS.Set", {"key": "a", "value": when}, timeout=15))
                ask(f"name {when}", lambda: meter.post("/rpc/Sys.SetConfig", {"config": {"device": {"name": when}}}, timeout=15))
                if when == "at first":
                    health = until(lambda: (h := meter.get("/healthz").json())["status"] != "ok" and h, 40, "/healthz says that the disk hangs")
                    assert any("disk of the data folder" in line for line in health["problems"]), health
        slowest = max(took, key=took.get)
        for path in ("/", "/energy", "/forecast", "/readers", "/health", "/settings"):
            answer = failed[f"{path} later"]
            assert answer.status == 200 and "disk of the data folder" in answer.text, (path, answer)
        meter.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        # What hangs in the kernel cannot end before the disk does; all else must have.
        until(lambda: meter.process.poll() is not None or gone(meter), 15, "SIGTERM ends it")
        ended = time.monotonic() - began
        row(no=12, case="a disk that hangs", **good.cells(), note=f"slowest: {slowest} {took[slowest]:.1f} s; SIGTERM {ended:.1f} s")
        good.check()
    finally:
        subprocess.run(["fsfreeze", "-u", disk], check=True)
    meter.process.wait(20)
    assert took[slowest] < 6, took


def gone(meter):
    """Whether nothing of it listens any more."""
    for port in (meter.http_port, meter.modbus_port, meter.dashboard_port):
        try:
            socket.create_connection((LOCAL, port), 1).close()
            return False
        except OSError:
            pass
    return True
