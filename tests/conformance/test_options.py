"""Every option from the options file to its effect: the program as a process, and something that is seen from outside.

A case names an option, a value, and what is looked at; the look must give one thing without the option and another with it.
An option without a case fails the last test.
"""
import asyncio
import contextlib
import json
import math
import os
import socket
import sqlite3
import ssl
import struct
import subprocess
import threading
import time
from dataclasses import dataclass, field

import pytest
from aiohttp import ClientSession, WSMsgType, web
from zeroconf import IPVersion, Zeroconf

import fake_ha as fake
import history
from harness import LOCAL, ROOT, Meter, fetch, free_port, free_range, udp, until

MAC = "2CBCBB0A1B2C"
STATES = {
    "sensor.l1": ("100", "W"), "sensor.l2": ("200", "W"), "sensor.l3": ("300", "W"), "sensor.out": ("40", "W"), "sensor.none": ("0", "W"), "sensor.gone": ("unavailable", "W"),
    "sensor.volt": ("231.5", "V"), "sensor.curr": ("3.0", "A"), "sensor.pf": ("0.5", ""), "sensor.hz": ("49.9", "Hz"),
    "sensor.from_grid": ("1234.5", "kWh"), "sensor.to_grid": ("55.5", "kWh"),
}
TOTAL = {"total_power": "sensor.l1"}


def recording(watts):
    """An hour of the same powers, W."""
    return "ts,a,b,c\n" + "".join(f"{1_700_000_000 + n},{watts},-3000,0\n" for n in range(3600))

REMOTE = "127.0.0.2"


class Home(Meter):
    """A meter whose every setting stands in its options file: nothing on the command line lies over it."""

    def command(self):
        return [str(self.binary), "run", "--options", str(self.options_file), "--data-dir", str(self.data)]

    def ports(self):
        return {"bind": LOCAL, "http_port": self.http_port, "modbus_port": self.modbus_port, "udp_ports": list(self.udp_ports),
                "ws_port_start": self.ws_port, "ws_port_end": self.ws_port + 1, "dashboard_port": self.dashboard_port,
                "mdns_enable": False, "store_interval": 10}


@dataclass
class World:
    """What a case may look at: the meter, its scripted Home Assistant, a folder."""

    meter: Home
    ha: fake.FakeHA
    folder: object
    extra: dict = field(default_factory=dict)

    def ready(self):
        until(lambda: self.meter.get("/healthz").status == 200, 5, "every phase has a value")
        return self.meter

    def em(self, key):
        return self.ready().em()[key]

    def em_soon(self, key, value):
        """The figure, given time to become this one."""
        with contextlib.suppress(AssertionError):
            until(lambda: self.ready().em()[key] == value, 1)
        return self.meter.em()[key]

    def data(self, key):
        self.ready()
        with contextlib.suppress(AssertionError):  # counters begin with their entities
            until(lambda: self.meter.emdata()[key], 1.5)
        return self.meter.emdata()[key] or 0


@dataclass
class Case:
    key: str
    value: object
    look: object
    without: object
    expected: object
    given: dict = field(default_factory=dict)
    source: str = "home-assistant"
    prepare: object = None

    def __str__(self):
        return self.key


CASES = []


def option(key, value, without, expected, given=TOTAL, source="home-assistant", prepare=None):
    """Declares a case; a value or an expectation may be a function of the world."""
    def declare(look):
        CASES.append(Case(key, value, look, without, expected, dict(given), source, prepare))
        return look
    return declare


def options(*rows, given=TOTAL, source="home-assistant", prepare=None):
    """Several cases with one look, which is told the key."""
    def declare(look):
        for key, value, without, expected, *more in rows:
            own = {**given, **(more[0] if more else {})}
            CASES.append(Case(key, value, lambda w, key=key: look(w, key), without, expected, own, source, prepare))
        return look
    return declare


def refused(port, host=LOCAL):
    try:
        socket.create_connection((host, port), 1).close()
    except OSError:
        return True
    return False


# -- source
@option("source", "demo", 503, 200, given={"auto_setup": False})
def source(w):
    with contextlib.suppress(AssertionError):
        until(lambda: w.meter.get("/healthz").status == 200, 2)
    return w.meter.get("/healthz").status


@option("replay_file", lambda w: str(w.folder / "other.csv"), 1000.0, 77.0, given={}, source="replay",
        prepare=lambda w: (w.folder / "other.csv").write_text(recording(77)))
def replay_file(w):
    return w.em("a_act_power")


@options(("replay_speed", 300.0, False, True), given={}, source="replay")
def replay_speed(w, _):
    w.ready()
    with contextlib.suppress(AssertionError):
        until(lambda: w.data("total_act") > 50, 3)
    return w.data("total_act") > 50


@options(("demo_speed", 9000.0, False, True), given={}, source="demo")
def demo_speed(w, _):
    first = w.data("total_act") + w.data("total_act_ret")
    time.sleep(1)  # what is counted in a second is asked
    return w.data("total_act") + w.data("total_act_ret") - first > 20


@option("demo_seed", 7, True, False, given={}, source="demo")
def demo_seed(w):
    """Whether it is the household of the seed that is the default."""
    w.ready()
    return "seed=42" in w.meter.log()


@option("demo_history_days", 1, False, True, given={}, source="demo")
def demo_history_days(w):
    w.ready()
    return "of a past are made up" in w.meter.log()


@option("demo_battery", True, False, True, given={}, source="demo")
def demo_battery(w):
    w.ready()
    with contextlib.suppress(AssertionError):
        until(lambda: "udp" in json.dumps(w.meter.admin()["consumers"]), 3)
    return "udp" in json.dumps(w.meter.admin()["consumers"])


@options(("ha_base_url", lambda w: w.ha.url, 503, 200, {"ha_token": fake.TOKEN}),
         ("ha_token", fake.TOKEN, 503, 200, {"ha_base_url": lambda w: w.ha.url}), source=None)
def home_assistant(w, _):
    return source(w)


@option("ha_transport", "rest", True, False)
def ha_transport(w):
    """Whether values are told by WebSocket: over REST one is opened now and then, only to ask for names."""
    w.ready()
    return bool(w.ha.subscriptions)


@option("poll_interval", 5.0, 2, 5, given={}, source="replay", prepare=lambda w: None)
def poll_interval(w):
    """The step of stored samples, s."""
    w.ready()
    file = w.meter.data / "virtual-shelly.db"

    def rows():
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
            times = [t for (t,) in db.execute("SELECT ts FROM s2 ORDER BY ts")]
        return len(times) > 1 and times
    times = until(rows, 25)
    return min(b - a for a, b in zip(times, times[1:]))


def moved(w):
    """The power served right after a jump from 100 to 300 W."""
    w.ready()
    time.sleep(1)  # as long as 100 W have to be in the mean
    w.ha.set("sensor.l1", "300")
    time.sleep(0.4)  # less than a step of the mean
    value = w.meter.total()
    w.ha.set("sensor.l1", "100")
    return value


@option("ha_smoothing_enable", True, True, False)
def smoothing(w):
    return moved(w) == 300


@option("smoothing_window", 60, True, False, given={**TOTAL, "ha_smoothing_enable": True, "smoothing_window": 2, "poll_interval": 0.5})
def smoothing_window(w):
    """Whether two seconds are enough for the whole jump, from a value that has been there for one."""
    w.ready()
    time.sleep(1)
    w.ha.set("sensor.l1", "300")
    time.sleep(2)  # the window
    value = w.meter.total()
    w.ha.set("sensor.l1", "100")
    return value == 300


@option("auto_setup", False, 200, 503, given={})
def auto_setup(w):
    return source(w)


# -- power
@option("total_power", "sensor.l1", 503, 200, given={"auto_setup": False})
def total_power(w):
    return source(w)


@options(("total_power_export", "sensor.out", 100.0, 60.0), ("total_invert", True, 100.0, -100.0), ("total_scale", 2.0, 100.0, 200.0),
         ("total_offset", 5.0, 100.0, 105.0), ("target_offset", 30.0, 100.0, 70.0))
def total(w, _):
    return w.em("total_act_power")


@option("total_phase", "c", (100.0, 0.0), (0.0, 100.0))
def total_phase(w):
    return w.em("a_act_power"), w.em("c_act_power")


PHASES = {"a_power": "sensor.l1", "b_power": "sensor.l2", "c_power": "sensor.l3"}


def of_phases(*cases):
    """One case a phase: (suffix, value, without, with) with `P` for its own power, 100, 200 or 300 W."""
    rows = []
    for n, phase in enumerate("abc", 1):
        for suffix, value, without, expected in cases:
            figure = [100.0 * n * x[0] + x[1] if isinstance(x, tuple) else x for x in (without, expected)]
            given = {k: v for k, v in PHASES.items() if k != f"{phase}_{suffix}"}
            rows.append((f"{phase}_{suffix}", PHASES.get(f"{phase}_{suffix}", value), *figure, given))
    return rows


@options(*of_phases(("power", None, 0.0, (1, 0)), ("power_export", "sensor.out", (1, 0), (1, -40)), ("invert", True, (1, 0), (-1, 0)),
                    ("scale", 3.0, (1, 0), (3, 0)), ("offset", 7.0, (1, 0), (1, 7))), given={})
def phase_power(w, key):
    return w.em(f"{key[0]}_act_power")


@options(*of_phases(("volt", "sensor.volt", 230.0, 231.5)), given={})
def phase_voltage(w, key):
    return w.em_soon(f"{key[0]}_voltage", 231.5)


@options(*of_phases(("curr", "sensor.curr", False, True)), given={})
def phase_current(w, key):
    return w.em_soon(f"{key[0]}_current", 3.0) == 3.0


@options(*of_phases(("pf", "sensor.pf", 1.0, 0.5)), given={})
def phase_pf(w, key):
    return w.em_soon(f"{key[0]}_pf", 0.5)


@options(("n_curr", "sensor.curr", None, 3.0), given=TOTAL)
def neutral(w, _):
    return w.em_soon("n_current", 3.0)


@options(("frequency", "sensor.hz", 50.0, 49.9), ("line_frequency", 60.0, 50.0, 60.0))
def frequency(w, _):
    return w.em_soon("a_freq", 49.9)


@option("line_voltage", 120.0, 230.0, 120.0)
def line_voltage(w):
    return w.em("a_voltage")


# -- energy
@options(("energy_import", "sensor.from_grid", False, True), *of_phases(("energy_import", "sensor.from_grid", False, True)))
def imported(w, key):
    return w.data("total_act" if key[1] != "_" else f"{key[0]}_total_act_energy") > 1_000_000


@options(("energy_export", "sensor.to_grid", False, True), *of_phases(("energy_export", "sensor.to_grid", False, True)))
def exported(w, key):
    return w.data("total_act_ret" if key[1] != "_" else f"{key[0]}_total_act_ret_energy") > 50_000


for case in CASES:  # a total and phases exclude each other
    if case.key[1:] in ("_energy_import", "_energy_export"):
        case.given.pop("total_power", None)


@option("energy_source", "integrate", True, False, given={**TOTAL, "energy_import": "sensor.from_grid"})
def energy_source(w):
    return w.data("total_act") > 1_000_000


@option("energy_total", "net", True, False, given={"replay_speed": 300.0}, source="replay")
def energy_total(w):
    """Whether the total counts the phase that draws while the house feeds in."""
    until(lambda: w.ready().emdata()["a_total_act_energy"] > 10, 10)
    return w.meter.emdata()["total_act"] > 1


@option("energy_unit", "kwh", True, False, given={**TOTAL, "energy_import": "sensor.from_grid"})
def energy_unit(w):
    return w.data("total_act") > 1_000_000


# -- old values
@option("stale", "error", 200, 500, given={"total_power": "sensor.gone", "hold": 0})
def stale(w):
    """What Home Assistant's own agent gets while the phase is absent."""
    until(lambda: w.meter.get("/healthz").status == 503, 5)
    return w.meter.get("/rpc/EM.GetStatus?id=0", headers={"User-Agent": "HomeAssistant/2026.11.0 aiohttp/3.13 Python/3.14"}).status


@option("hold", 0, 200, 503)
def hold(w):
    w.ready()
    w.ha.set("sensor.l1", "unavailable")
    with contextlib.suppress(AssertionError):
        until(lambda: w.meter.get("/healthz").status == 503, 1.5)
    return w.meter.get("/healthz").status


@option("max_age", 5, 200, 503)
def max_age(w):
    """Eight seconds after the only report."""
    w.ready()
    with contextlib.suppress(AssertionError):
        until(lambda: w.meter.get("/healthz").status == 503, 12)
    return w.meter.get("/healthz").status


# -- identity
@options(("mac", "2C:BC:BB:0A:1B:2C", False, True), given={})
def mac(w, _):
    return w.meter.info()["mac"] == MAC


@options(("device_id", "shellypro3em63-2cbcbb0a1b2c", "shellypro3em-2cbcbb0a1b2c", "shellypro3em63-2cbcbb0a1b2c"), given={"mac": MAC})
def device_id(w, _):
    return w.meter.info()["id"]


@options(("app_id", "Pro3EMX", "Pro3EM", "Pro3EMX"), ("model", "SPEM-003CEBEU400", "SPEM-003CEBEU", "SPEM-003CEBEU400"), ("generation", 3, 2, 3),
         ("device_name", "Cellar", None, "Cellar"), ("profile", "monophase", "triphase", "monophase"), given={})
def info(w, key):
    return w.meter.info()[{"app_id": "app", "generation": "gen", "device_name": "name"}.get(key, key)]


@option("firmware", "1.6.1", False, True, given={"firmware": "2.0.1"})
def firmware(w):
    return w.meter.info()["ver"] == "1.6.1"


@option("fw_id", "20250101-101010/1.6.1-gabcdef0", False, True, given={"firmware": "1.6.1"})
def fw_id(w):
    return w.meter.info()["fw_id"] == "20250101-101010/1.6.1-gabcdef0"


@options(("sn", "S123", False, True), ("manufacturer", "Allterco", False, True), given={})
def overview_text(w, key):
    return {"sn": "S123", "manufacturer": "Allterco"}[key] in json.dumps(w.meter.admin())


# -- addresses, HTTP, limits
@option("bind", REMOTE, True, False)
def bind(w):
    """Whether the first loopback address is served."""
    until(lambda: not refused(w.meter.http_port) or not refused(w.meter.http_port, REMOTE), 5)
    return not refused(w.meter.http_port)


def own_port(w):
    return w.extra.setdefault("port", free_port())


@options(("http_port", own_port, True, False), ("modbus_port", own_port, True, False))
def other_port(w, key):
    """Whether it listens on the port that it has without the option."""
    port = w.meter.http_port if key == "http_port" else w.meter.modbus_port
    until(lambda: not refused(port) or not refused(w.extra.get("port", port)), 5)
    return not refused(port)


@option("udp_ports", lambda w: [own_port(w)], True, False)
def udp_port(w):
    w.ready()
    return w.meter.udp({"id": 1, "method": "EM.GetStatus", "params": {"id": 0}}, timeout=1) is not None


@options(("cors_enable", True, None, "https://page.example", {"cors_origins": ["https://page.example"]}),
         ("cors_origins", ["https://page.example"], "*", "https://page.example", {"cors_enable": True}))
def cors(w, _):
    return w.meter.get("/healthz", headers={"Origin": "https://page.example"}).headers.get("access-control-allow-origin")


@option("strict_minimal_payload", True, True, False)
def strict_minimal_payload(w):
    return "a_voltage" in w.ready().em()


@option("legacy_http", False, 200, 400)
def legacy_http(w):
    return w.ready().get("/rpc?method=EM.GetStatus&params=%7B%22id%22:0%7D").status


@option("unknown_methods", "dummy", 404, 200)
def unknown_methods(w):
    return w.meter.get("/rpc/No.Such").status


@option("recent_clients_max", 10, True, False)
def recent_clients_max(w):
    for n in range(15):
        w.meter.get("/rpc/Shelly.GetDeviceInfo", source=f"127.0.0.{30 + n}")
    return len(w.meter.admin()["consumers"]) > 10


@option("rate_limit", 5, False, True)
def rate_limit(w):
    return any(w.meter.get("/rpc/Shelly.GetDeviceInfo", source=REMOTE).status != 200 for _ in range(12))


@option("max_connections", 8, True, False)
def max_connections(w):
    """Whether the first of twelve connections is still open."""
    with contextlib.ExitStack() as stack:
        opened = []
        for n in range(12):
            s = stack.enter_context(socket.create_connection((LOCAL, w.meter.http_port), 5, (f"127.0.0.{40 + n}", 0)))
            s.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n")
            s.recv(4096)
            opened.append(s)
        opened[0].settimeout(0.5)
        try:
            return opened[0].recv(1) != b""
        except TimeoutError:
            return True


# -- WebSocket
@options(("ws_fanout_enable", False, True, False),
         ("ws_port_start", lambda w: w.meter.ws_port + 1, True, False), ("ws_port_end", lambda w: w.meter.ws_port, True, False))
def fanout(w, key):
    """Whether the first, for the last port the second one is open."""
    w.ready()
    port = w.meter.ws_port + (key == "ws_port_end")
    with contextlib.suppress(AssertionError):
        until(lambda: not refused(port), 1)
    return not refused(port)


def frames(w, seconds, port=None, src="reader"):
    """Notifications of the power within some seconds of steady change; without `src` nothing is said."""
    w.ready()

    async def listen():
        async with ClientSession() as session, session.ws_connect(f"ws://{LOCAL}:{port or w.meter.http_port}/rpc") as ws:
            if src:
                await ws.send_str(json.dumps({"id": 1, "src": src, "method": "Shelly.GetDeviceInfo"}))
            count, end, n = 0, time.monotonic() + seconds, 0
            while time.monotonic() < end:
                n += 1
                w.ha.set("sensor.l1", str(100 + 5 * (n % 2)))
                with contextlib.suppress(TimeoutError):
                    count += '"em:0"' in (await ws.receive(0.05)).data
            return count
    count = asyncio.run(listen())
    w.ha.set("sensor.l1", "100")
    return count


@option("ws_notify_interval", 5.0, True, False, given={**TOTAL, "ws_notify_interval": 0.0})
def ws_notify_interval(w):
    return frames(w, 1.5) > 5


@option("ws_notify_eps", 50.0, True, False, given={**TOTAL, "ws_notify_interval": 0.0})
def ws_notify_eps(w):
    return frames(w, 1.5) > 5


@option("ws_passive_after", 0.0, True, False, given={**TOTAL, "ws_notify_interval": 0.0, "ws_passive_after": 0.3})
def ws_passive_after(w):
    return frames(w, 1.5, src=None) > 0


@option("ws_push_on_connect", False, True, False, given={**TOTAL, "ws_notify_interval": 0.0, "ws_passive_after": 0.0})
def ws_push_on_connect(w):
    return frames(w, 1.5, port=w.meter.ws_port, src=None) > 0


# -- UDP
def asked(w, **more):
    w.ready()
    return w.meter.udp({"id": 1, "method": "EM.GetStatus", "params": {"id": 0}, **more}, timeout=1)


@options(("udp_enable", False, True, False), ("udp_max", 256, True, False))
def udp_answers(w, _):
    return asked(w, pad="x" * 300) is not None


@option("udp_reply", "short", True, False)
def udp_reply(w):
    return "a_voltage" in asked(w)


@option("udp_decimals", "nonzero", True, False)
def udp_decimals(w):
    return '"b_act_power":0.0,' in asked(w)


# -- Modbus
def modbus(w, address, unit=1, function=4, count=2):
    """The answer's function (128 more with an exception), or None where nobody answers."""
    w.ready()
    with contextlib.suppress(OSError), contextlib.closing(socket.create_connection((LOCAL, w.meter.modbus_port), 2)) as s:
        s.settimeout(2)
        s.sendall(struct.pack(">HHHBBHH", 1, 0, 6, unit, function, address, count))
        return s.recv(260)[7]
    return None


@options(("modbus_enable", False, 4, None), ("modbus_bind", "127.0.0.3", 4, None))
def modbus_listens(w, _):
    return modbus(w, 1013)


@option("modbus_unit_id", 7, 132, 4)
def modbus_unit_id(w):
    return modbus(w, 1013, unit=7)


@option("modbus_map", "official", 4, 132)
def modbus_map(w):
    return modbus(w, 3020)


@option("modbus_reset", True, 134, 6)
def modbus_reset(w):
    return modbus(w, 4200, function=6, count=1)


# -- mDNS
def announced(w, patience=4000):
    """What resolves under the device's name: (host, address, TXT), or None."""
    w.ready()
    name = w.meter.info()["id"]
    zc = Zeroconf(interfaces=[LOCAL], ip_version=IPVersion.V4Only)
    try:
        found = zc.get_service_info("_shelly._tcp.local.", f"{name}._shelly._tcp.local.", patience)
        return found and (found.server, found.parsed_addresses(), {k.decode(): (v or b"").decode() for k, v in found.properties.items()})
    finally:
        zc.close()


ON_LOOPBACK = {**TOTAL, "mdns_enable": True, "mdns_interfaces": ["lo"]}


@option("mdns_enable", True, False, True, given={**TOTAL, "mdns_interfaces": ["lo"]})
def mdns_enable(w):
    return announced(w, 2500) is not None


@option("mdns_interfaces", ["lo"], False, True, given={**TOTAL, "mdns_enable": True, "mdns_interfaces": ["none0"]})
def mdns_interfaces(w):
    return announced(w, 2500) is not None


@option("mdns_hostname", "cellar-meter", False, True, given=ON_LOOPBACK)
def mdns_hostname(w):
    return announced(w)[0] == "cellar-meter.local."


@option("mdns_ip", REMOTE, [LOCAL], [REMOTE], given=ON_LOOPBACK)
def mdns_ip(w):
    return announced(w)[1]


@option("mdns_profile", "solakon", "2", "3", given=ON_LOOPBACK)
def mdns_profile(w):
    return announced(w)[2]["gen"]


# -- outbound
class Server:
    """What the meter may dial: keeps the frames that come, and asks for the power."""

    def __init__(self, context=None):
        self.frames, self.loop = [], asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        port = asyncio.run_coroutine_threadsafe(self.listen(context), self.loop).result(10)
        self.url = f"{'wss' if context else 'ws'}://{LOCAL}:{port}/"

    async def listen(self, context):
        app = web.Application()
        app.add_routes([web.get("/", self.socket)])
        self.runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self.runner.setup()
        site = web.TCPSite(self.runner, LOCAL, 0, ssl_context=context)
        await site.start()
        return site._server.sockets[0].getsockname()[1]

    async def socket(self, request):
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        await ws.send_str(json.dumps({"id": "q7", "method": "EM.GetStatus", "params": {"id": 0}}))
        async for message in ws:
            if message.type == WSMsgType.TEXT:
                self.frames.append(message.data)
        return ws

    def close(self):
        asyncio.run_coroutine_threadsafe(self.runner.cleanup(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


def target(w):
    return [w.extra["server"].url]


def with_server(w, context=None):
    w.extra["server"] = Server(context)


def self_signed(w):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ROOT / "tests/data/tls/server.pem", ROOT / "tests/data/tls/server.key")
    with_server(w, context)


@option("outbound_ws", target, False, True, prepare=with_server)
def outbound_ws(w):
    w.ready()
    with contextlib.suppress(AssertionError):
        until(lambda: w.extra["server"].frames, 3)
    return bool(w.extra["server"].frames)


@option("outbound_ws_insecure", True, False, True, given={**TOTAL, "outbound_ws": target}, prepare=self_signed)
def outbound_ws_insecure(w):
    return outbound_ws(w)


# -- protection
@option("read_only", True, 200, 403)
def read_only(w):
    return w.meter.post("/rpc/KVS.Set", {"key": "a", "value": "b"}).status


@option("auth_password", "secret", 200, 401)
def auth_password(w):
    return w.ready().get("/rpc/EM.GetStatus?id=0").status


@option("auth_udp", True, False, True, given={**TOTAL, "auth_password": "secret"})
def auth_udp(w):
    return '"code":401' in asked(w)


@option("auth_outbound", True, False, True, given={**TOTAL, "auth_password": "secret", "outbound_ws": target}, prepare=with_server)
def auth_outbound(w):
    w.ready()
    frames = w.extra["server"].frames
    until(lambda: any('"id":"q7"' in text for text in frames), 5)
    return any('"code":401' in text for text in frames)


@option("outbound_ws_local", True, False, True, prepare=with_server)
def outbound_ws_local(w):
    """Whether a reader may have it dial this host."""
    answer = w.meter.post("/rpc/Ws.SetConfig", {"config": {"enable": True, "server": w.extra["server"].url}})
    return answer.status == 200


# -- calm control
def asks_twice(w, source):
    """Whether the second of two questions, as far apart as a battery's, is answered at once."""
    w.ready()
    question = {"id": 1, "method": "EM.GetStatus", "params": {"id": 0}}
    until(lambda: udp(w.meter.udp_ports[0], question, source=source), 5)
    time.sleep(0.3)  # as far apart as a battery's: what asks at once again is none
    return udp(w.meter.udp_ports[0], question, source=source, timeout=0.6) is not None


@option("control", "off", False, True)
def control(w):
    return asks_twice(w, REMOTE)


@option("readers", [f"{LOCAL}=hoymiles"], True, False)
def readers(w):
    """A battery by its profile."""
    return asks_twice(w, LOCAL)


@option("control_readers", [LOCAL], True, False)
def control_readers(w):
    return asks_twice(w, LOCAL)


# -- shares
SHARED = {**TOTAL, "request_side_scaling_enable": True, "request_side_scaling_clients": 4}


def told(w, address):
    return json.loads(w.ready().get("/rpc/EM.GetStatus?id=0", source=address).text)["total_act_power"]


@options(("request_side_scaling_enable", True, 100.0, 25.0, {"request_side_scaling_clients": 4}),
         ("request_side_scaling_clients", 4, 100.0, 25.0, {"request_side_scaling_enable": True}),
         ("scaling_shares", [f"{REMOTE}=0.7"], 25.0, 70.0, SHARED))
def share(w, _):
    return told(w, REMOTE)


@option("scaling_viewers", [REMOTE], 50.0, 100.0, given={**TOTAL, "request_side_scaling_enable": True})
def scaling_viewers(w):
    """What a battery gets after somebody else has asked for a while too."""
    for _ in range(4):
        told(w, REMOTE)
        told(w, "127.0.0.5")
        time.sleep(0.3)
    return told(w, "127.0.0.5")


@option("request_ip_ttl", 1.0, 50.0, 100.0, given={**TOTAL, "request_side_scaling_enable": True})
def request_ip_ttl(w):
    """What a battery gets two seconds after the other has gone."""
    for _ in range(4):
        told(w, REMOTE)
        told(w, "127.0.0.5")
        time.sleep(0.3)
    time.sleep(2)  # longer than the option
    return told(w, "127.0.0.5")


# -- dashboard
@option("dashboard_on_lan", "view", 404, 200)
def dashboard_on_lan(w):
    return w.meter.get("/ui").status


@options(("dashboard_port", own_port, True, False), ("dashboard_bind", REMOTE, True, False))
def dashboard_listens(w, _):
    w.ready()
    with contextlib.suppress(AssertionError):
        until(lambda: not refused(w.meter.dashboard_port), 1)
    return not refused(w.meter.dashboard_port)


@option("dashboard_hosts", ["meter.example"], False, True)
def dashboard_hosts(w):
    until(lambda: not refused(w.meter.dashboard_port), 5)
    return fetch(w.meter.dashboard_port, "GET", "/", headers={"Host": "meter.example"}).status == 200


# -- files and retention
def old_rows(meter):
    """Puts a row of each of the last twenty days into every table of a meter's database; the time then."""
    meter.start()
    meter.stop()
    now = int(time.time())
    with contextlib.closing(sqlite3.connect(meter.data / "virtual-shelly.db")) as db, db:
        for n in range(20):
            ts = int(now - 86400 * (n + 0.5)) // 60 * 60
            db.execute("INSERT OR REPLACE INTO s2(ts, w) VALUES(?, 1)", (ts,))
            db.execute("INSERT OR REPLACE INTO m1(ts, w, mn, mx, n) VALUES(?, 1, 1, 1, 60)", (ts,))
            db.execute("INSERT OR REPLACE INTO records(meter, ts, rec) VALUES(1, ?, ?)", (ts, bytes([1]) + bytes(42)))
    return now


def test_retention(binary, tmp_path):
    """Whose rows are how old after the first look at them, a minute after the start; one meter each for what the options may say."""
    plans = {"long": {"raw_days": 15, "history_days": 15, "power_retention_days": 1, "records_days": 15},
             "short": {"raw_days": 3, "history_days": 3, "power_retention_days": 1, "records_days": 3},
             "minutes": {"raw_days": 3, "history_days": 1, "power_retention_days": 15, "records_days": 3}}
    kept = {"long": {"s2": 15, "m1": 15, "records": 15}, "short": {"s2": 3, "m1": 3, "records": 3}, "minutes": {"s2": 3, "m1": 15, "records": 3}}
    meters = {name: Home(binary, tmp_path / name) for name in plans}
    try:
        for name, meter in meters.items():
            meter.options = {**meter.ports(), "source": "demo", **plans[name]}
            now = old_rows(meter)
        for meter in meters.values():
            meter.start()

        def days(meter):
            with contextlib.closing(sqlite3.connect(f"file:{meter.data / 'virtual-shelly.db'}?mode=ro", uri=True)) as db:
                return {table: math.ceil((now - db.execute(f"SELECT min(ts) FROM {table}").fetchone()[0]) / 86400) for table in ("s2", "m1", "records")}
        last = {}

        def now_kept():
            last.update({name: days(meter) for name, meter in meters.items()})
            return last == kept
        with contextlib.suppress(AssertionError):
            until(now_kept, 100)
        assert last == kept
    finally:
        for meter in meters.values():
            meter.kill()


# -- forecast
def trained(w):
    """A training at the start, on two days of samples."""
    w.meter.start(w.meter.http_port)
    w.meter.stop()
    history.seed(w.meter.data / "virtual-shelly.db", history.samples())


def models(w):
    return until(lambda: (p := fetch(w.meter.dashboard_port, "GET", "/ui/power").json()["model"]) and p["trained_at"] and p["horizons"] and p, 180)


@option("forecast_enable", False, True, False, given={}, source="demo")
def forecast_enable(w):
    w.ready()
    return "virtual_shelly_forecast_training_running" in w.meter.get("/metrics").text


@options(("forecast_models", ["last_value"], False, True), given={"forecast_cpu": 100}, source="demo", prepare=trained)
def forecast_models(w, _):
    return all(h["model"] == "last_value" for h in models(w)["horizons"])


@option("forecast_horizon_steps", 10, 30, 10, given={"forecast_cpu": 100}, source="demo", prepare=trained)
def forecast_horizon_steps(w):
    return models(w)["horizon"]


@option("power_feature_window", 60, False, True, given={"forecast_cpu": 100}, source="demo", prepare=trained)
def power_feature_window(w):
    """Whether what was trained with the default is of no use with this."""
    models(w)
    w.meter.stop()
    w.meter.options["power_feature_window"] = 30
    w.meter.start()
    with contextlib.suppress(AssertionError):
        until(lambda: "made for other settings" in w.meter.log(), 5)
    return "made for other settings" in w.meter.log()


@option("power_history_seconds", 10, True, False, given={"power_history_seconds": 600}, source="demo", prepare=trained)
def power_history_seconds(w):
    return len(fetch(w.meter.dashboard_port, "GET", "/ui/power").json()["history"]) > 20


@option("store_interval", 10, False, True, given={"total_power": "sensor.none", "store_interval": 300})
def store_interval(w):
    """Whether the database is written again within 12 s. Full minutes, and counters that come near what is kept of them, are written earlier:
    nothing is counted here, and no minute ends meanwhile."""
    w.ready()
    log = w.meter.data / "virtual-shelly.db-wal"

    def quiet():
        return time.time() - log.stat().st_mtime > 3 and time.time() % 60 < 46
    until(quiet, 30, "what a start writes is written")
    last = log.stat().st_mtime
    with contextlib.suppress(AssertionError):
        return until(lambda: log.stat().st_mtime > last, 12)
    return False


# -- log and further meters
@option("log_level", "debug", False, True, given={}, source="demo")
def log_level(w):
    w.ready()
    with contextlib.suppress(AssertionError):
        until(lambda: "DEBUG" in w.meter.log(), 3)
    return "DEBUG" in w.meter.log()


@option("meters", lambda w: [{"name": "PV", "a_power": "sensor.l3", "http_port": own_port(w)}], False, True)
def meters(w):
    w.ready()
    with contextlib.suppress(OSError, AssertionError):
        return until(lambda: json.loads(fetch(own_port(w), "GET", "/rpc/EM.GetStatus?id=0").text)["a_act_power"] == 300, 2)
    return False


# Told on the command line only, of no effect by design, or looked at where the rest of its subject is.
ELSEWHERE = {
    "raw_days": "test_retention", "history_days": "test_retention", "power_retention_days": "test_retention", "records_days": "test_retention",
    "data_dir": "every case here names it", "options": "every case here is read from it", "state_path": "test_scenarios.py imports from it",
    "model_path": "accepted for the original's sake; a foreign file there stays untouched",
    "forecast_metric": "test_forecast.py", "forecast_interval": "test_forecast.py", "forecast_cpu": "test_forecast.py",
    "model_train_interval": "test_forecast.py",
    "mqtt_enable": "test_mqtt.py", "mqtt_server": "test_mqtt.py", "mqtt_user": "test_mqtt.py", "mqtt_password": "test_mqtt.py",
}


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("set_", [False, True], ids=["without", "with"])
def test_an_option_has_its_effect(case, set_, binary, tmp_path, request):
    ha = fake.FakeHA().start()
    for entity, (state, unit) in STATES.items():
        kind = {"W": "power", "kWh": "energy"}.get(unit)
        ha.run(ha._set(entity, state, {"unit_of_measurement": unit, **({"device_class": kind} if kind else {})}))
    ha.prefs = {"energy_sources": [{"type": "grid", "stat_energy_from": "sensor.from_grid", "stat_energy_to": None, "stat_rate": "sensor.l1",
                                    "power_config": {"stat_rate": "sensor.l1"}}], "device_consumption": []}
    meter = Home(binary, tmp_path / "meter")
    w = World(meter, ha, tmp_path, {"connections": ha.connections})
    file = tmp_path / "replay.csv"
    file.write_text(recording(1000))
    sources = {"home-assistant": {"ha_base_url": ha.url, "ha_token": ha.token}, "demo": {"source": "demo"},
               "replay": {"source": "replay", "replay_file": str(file)}, None: {}}
    meter.options = {**meter.ports(), **sources[case.source]}
    try:
        if case.prepare:
            case.prepare(w)
        given = {**meter.options, **case.given, **({case.key: case.value} if set_ else {})}
        meter.options = {k: v(w) if callable(v) else v for k, v in given.items()}
        meter.start(meter.options["dashboard_port"] if case.key in ("http_port", "bind") else meter.http_port)
        assert case.look(w) == (case.expected if set_ else case.without)
    finally:
        meter.kill()
        ha.close()
        if server := w.extra.get("server"):
            server.close()


def test_every_option_has_a_case(binary):
    done = subprocess.run([binary, "config", "--json", "--source", "demo"], capture_output=True, text=True, timeout=30, env={"PATH": os.environ["PATH"]})
    keys = set(json.loads(done.stdout)["options"])
    covered = {case.key for case in CASES} | set(ELSEWHERE)
    assert keys - covered == set() and covered - keys == set()
