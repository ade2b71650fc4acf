"""The product as a process, its channels as plain clients, and waiting on conditions.

Everything binds to 127.0.0.1 on ports of a range that belongs to this test process, so tests run side by side.
"""
import asyncio
import contextlib
import http.client
import inspect
import json
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests/fixtures"
LOCAL = "127.0.0.1"


# -- weight
def on_the_wire(port, path):
    """Bytes of a page or file as a browser gets it, which takes gzip."""
    connection = http.client.HTTPConnection(LOCAL, port, timeout=10)
    try:
        connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
        answer = connection.getresponse()
        assert answer.status == 200, f"{path}: {answer.status}"
        return len(answer.read())
    finally:
        connection.close()


# -- waiting
def within(seconds):
    """When a wait is over: later, up to four times, on a machine of which each core has more than one thing to do."""
    return time.monotonic() + seconds * min(max(os.getloadavg()[0] / os.cpu_count(), 1), 4)


def until(condition, seconds, what=None):
    """Poll until the condition gives something true, and return that; an AssertionError after the deadline."""
    deadline, last = within(seconds), None
    while True:
        try:
            last = condition()
            if last:
                return last
        except (OSError, http.client.HTTPException, AssertionError, KeyError, TypeError) as e:
            last = repr(e)
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or inspect.getsource(condition).strip()}; last: {last!r}")
        time.sleep(0.02)


async def aio_until(condition, seconds, what=None):
    """`until` for a condition that the running event loop changes."""
    deadline, last = within(seconds), None
    while True:
        try:
            last = condition()
            if inspect.isawaitable(last):
                last = await last
            if last:
                return last
        except (AssertionError, KeyError, TypeError) as e:
            last = repr(e)
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what or inspect.getsource(condition).strip()}; last: {last!r}")
        await asyncio.sleep(0.02)


def near(a, b, by=0.05):
    """Whether two numbers are the same within the served rounding."""
    return a is not None and abs(a - b) <= by


# -- ports
def _ports():
    """Ports below the ephemeral range, a part of it for each pytest worker."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    first = 12000 + 2400 * (worker % 8)
    offset = os.getpid() % 2300
    while True:
        port = first + offset
        offset = (offset + 1) % 2400
        try:
            with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
                tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                tcp.bind((LOCAL, port))
                udp.bind((LOCAL, port))
        except OSError:
            continue
        yield port


PORTS = _ports()


def free_port():
    return next(PORTS)


def free_range(count):
    """The first of `count` free ports in a row."""
    row = [free_port()]
    while len(row) < count:
        port = free_port()
        row = [*row, port] if port == row[-1] + 1 else [port]
    return row[0]


# -- answers
@dataclass
class Answer:
    """An HTTP answer: status, headers with small names, text."""

    status: int
    headers: dict
    text: str

    def json(self):
        return json.loads(self.text)


def fetch(port, method, path, body=None, headers=None, source=LOCAL, timeout=10):
    """One HTTP request on a connection of its own, from `source`."""
    connection = http.client.HTTPConnection(LOCAL, port, timeout=timeout, source_address=(source, 0))
    if body is not None and not isinstance(body, (str, bytes)):
        body = json.dumps(body)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode())
    finally:
        connection.close()


def udp(port, datagram, source=LOCAL, timeout=2.0):
    """Send one datagram and return the text of the answer, or None when none came in time."""
    with socket.socket(type=socket.SOCK_DGRAM) as s:
        s.bind((source, 0))
        s.settimeout(timeout)
        s.sendto(datagram if isinstance(datagram, bytes) else json.dumps(datagram, separators=(",", ":")).encode(), (LOCAL, port))
        try:
            text, sender = s.recvfrom(65535)
        except TimeoutError:
            return None
        assert sender == (LOCAL, port), "the answer comes from the address and port that were asked"
        return text.decode()


# -- the product
@dataclass
class Meter:
    """A running `virtual-shelly`. Use the `meter` fixture, which stops it and looks at its exit code."""

    binary: Path
    folder: Path
    options: dict = field(default_factory=dict)
    env: dict = field(default_factory=dict)
    args: tuple = ()
    mdns: bool = False
    # None: all addresses of this host.
    bind: str | None = LOCAL
    process: subprocess.Popen | None = None

    def __post_init__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.http_port, self.modbus_port, self.dashboard_port = free_port(), free_port(), free_port()
        self.udp_ports = (free_port(), free_port())
        self.ws_port = free_range(2)
        self.data, self.log_file, self.options_file = self.folder / "data", self.folder / "log", self.folder / "options.json"

    def command(self):
        return [str(self.binary), "run", "--options", str(self.options_file), "--data-dir", str(self.data),
                *(("--bind", self.bind) if self.bind else ()), "--http-port", str(self.http_port), "--modbus-port", str(self.modbus_port),
                "--udp-ports", ",".join(map(str, self.udp_ports)), "--ws-port-start", str(self.ws_port),
                "--ws-port-end", str(self.ws_port + 1), "--dashboard-port", str(self.dashboard_port),
                "--mdns-enable", "true" if self.mdns else "false", *self.args]

    def environment(self):
        # nothing of this machine's environment may configure the product under test
        keep = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG", "TMPDIR")}
        # a demo has the past and the battery that a test asks for
        plain = {f"VIRTUAL_SHELLY_{key.upper()}": value for key, value in (("demo_history_days", "0"), ("demo_battery", "false"))
                 if key not in self.options}
        return {**keep, "TZ": "Europe/Berlin", "RUST_BACKTRACE": "1", **plain, **self.env}

    def spawn(self):
        self.data.mkdir(exist_ok=True)
        self.options_file.write_text(json.dumps(self.options))
        with open(self.log_file, "ab") as out:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=out,
                                            stderr=subprocess.STDOUT, env=self.environment(), start_new_session=True)
        return self

    def start(self, port=None):
        """Start it and wait until it says that it is alive (on another port where HTTP can't be had)."""
        self.spawn()
        until(lambda: self.alive(port or self.http_port), 15, f"{self.binary.name} answers /livez")
        with contextlib.suppress(AssertionError):  # some tests take the dashboard's port
            until(lambda: fetch(self.dashboard_port, "GET", "/livez", timeout=1).status == 200, 3)
        return self

    def alive(self, port):
        if self.process.poll() is not None:
            raise RuntimeError(f"ended with {self.process.returncode}:\n{self.log()[-4000:]}")
        return fetch(port, "GET", "/livez").status == 200

    def stop(self):
        """SIGTERM; it must end by itself, with 0, and leave no process behind."""
        assert self.process.poll() is None, f"it ended by itself with {self.process.returncode}:\n{self.log()[-4000:]}"
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"SIGTERM did not end it in 10 s:\n{self.log()[-4000:]}") from None
        assert code == 0, f"exit code {code}:\n{self.log()[-4000:]}"
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, 0)
            raise AssertionError("it left a process behind")

    def kill(self):
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)

    def restart(self):
        self.stop()
        return self.start()

    def log(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    # channels
    def get(self, path, **how):
        return fetch(self.http_port, "GET", path, **how)

    def post(self, path, body, **how):
        return fetch(self.http_port, "POST", path, body, **how)

    def rpc(self, method, params=None, **how):
        """The bare result of a method by POST /rpc/<Method>."""
        answer = self.post(f"/rpc/{method}", params or {}, **how)
        assert answer.status == 200, f"{method}: {answer}"
        return answer.json()

    def em(self, **how):
        """The status of `em:0`; while a power is absent, which is an error to most, the nulls that Home Assistant is told."""
        answer = self.post("/rpc/EM.GetStatus", {"id": 0}, **how)
        if answer.status == 200:
            return answer.json()
        assert answer.status == 500 and answer.json()["code"] == -114, answer
        return self.rpc("EM.GetStatus", {"id": 0}, **{**how, "headers": {**how.get("headers", {}), "User-Agent": "HomeAssistant/2026.11.0"}})

    def total(self):
        return self.em()["total_act_power"]

    def emdata(self):
        return self.rpc("EMData.GetStatus", {"id": 0})

    def info(self):
        return self.get("/shelly").json()

    def admin(self, path="/admin/overview"):
        """A page of the dashboard's listener, as JSON."""
        return fetch(self.dashboard_port, "GET", path).json()

    def udp(self, datagram, **how):
        return udp(self.udp_ports[0], datagram, **how)

    def until_total(self, watts, seconds=1.0):
        """Wait until EM.GetStatus serves this total."""
        return until(lambda: near(self.total(), watts) and self.em(), seconds, f"total {watts} W")

    @contextlib.asynccontextmanager
    async def ws(self, port=None, path="/rpc", source=LOCAL):
        """A WebSocket, as a `Frames` client."""
        connector = aiohttp.TCPConnector(local_addr=(source, 0))
        async with aiohttp.ClientSession(connector=connector) as session:
            async with session.ws_connect(f"ws://{LOCAL}:{port or self.http_port}{path}") as socket_:
                yield Frames(socket_)


class Frames:
    """RPC frames on a WebSocket; whatever is no answer to a call is kept in `notes`."""

    def __init__(self, ws, src="conformance"):
        self.ws, self.src, self.number, self.notes, self.texts = ws, src, 0, [], []

    async def receive(self, timeout=5):
        message = await self.ws.receive(timeout)
        assert message.type == aiohttp.WSMsgType.TEXT, message
        self.texts.append(message.data)
        return json.loads(message.data)

    async def send(self, frame):
        await self.ws.send_str(frame if isinstance(frame, str) else json.dumps(frame))

    async def call(self, method, params=None, **fields):
        """Send a call and return the whole answering frame."""
        self.number += 1
        frame = {"id": self.number, "src": self.src, "method": method, **fields}
        if params is not None:
            frame["params"] = params
        await self.send(frame)
        while True:
            answer = await self.receive()
            if answer.get("id") == frame["id"]:
                return answer
            self.notes.append(answer)

    async def note(self, method="NotifyStatus", seconds=12, where=lambda frame: True):
        """The next notification of a kind (kept ones first) that fulfils a condition."""
        deadline = time.monotonic() + seconds
        while True:
            while self.notes:
                frame = self.notes.pop(0)
                if frame.get("method") == method and where(frame):
                    return frame
            left = deadline - time.monotonic()
            assert left > 0, f"no {method} within {seconds} s"
            try:
                self.notes.append(await self.receive(left))
            except TimeoutError:
                raise AssertionError(f"no {method} within {seconds} s") from None


# -- JSON as text: order of keys and format of numbers
def shape(text):
    """JSON text as nested (key, shape) pairs in the text's own order; a number becomes its number of decimals."""
    def number(s):
        return f"number with {len(s.partition('.')[2])} decimals"
    value = json.loads(text, object_pairs_hook=lambda pairs: pairs, parse_float=number, parse_int=number)

    def kind(v):
        if isinstance(v, str) and not v.startswith("number with"):
            return "text"
        if isinstance(v, list) and v and isinstance(v[0], tuple):
            return [(k, kind(x)) for k, x in v]
        return [kind(x) for x in v] if isinstance(v, list) else "bool" if isinstance(v, bool) else v
    return kind(value)


def golden(name):
    return json.loads((FIXTURES / "golden" / f"{name}.json").read_text())


def dump(name="pro3em-1.6.1-triphase"):
    return json.loads((FIXTURES / "dumps" / f"{name}.json").read_text())
