#!/usr/bin/env python3
"""A real Home Assistant Core, headless, on 127.0.0.1 only, as a test fixture.

  ha_up.py                start it (once), onboard, print JSON {url, ws, token, pid, port, folder, log}
  ha_up.py --stop         end that instance
  ha_up.py --status       print the JSON of a running instance (exit 3 if none)
  ha_up.py --fresh        throw its folder away first
      --port 18123        --folder target/ha-fixture/config-PORT     --lifetime 14400

The conformance tests use the class HomeAssistant below; the command is for trying things by hand. It
installs what it needs by itself (python_env.py). Home Assistant installs nothing at run time, and whatever
in it tries to talk to an address other than loopback, or to look up a name, fails inside its process.

Sensors: each `input_number` (grid_power, grid_l1 … grid_l3, solar_power, battery_power, in W;
grid_import_energy, grid_export_energy, in kWh) feeds a template sensor with a unique id: sensor.grid_power,
sensor.grid_l1_power, … also sensor.grid_power_kw, sensor.grid_import_power and sensor.grid_export_power;
input_boolean.grid_available off makes them unavailable. POST /api/states/<entity> makes any other state.
"""
import argparse
import asyncio
import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import python_env

try:
    import aiohttp
except ImportError:  # started by hand with another Python
    python_env.start_again_there()
    raise

START_SECONDS, STOP_SECONDS = 180, 30
USER, PASSWORD = "fixture", "fixture-password"

# Home Assistant is started through this. Found needed: it asks a DNS server while starting, and aiohttp's
# mDNS resolver binds UDP port 5353 of all addresses. It also ends by itself when its lifetime is over.
GUARD = r'''
import errno, ipaddress, os, signal, socket, sys, threading
def loopback(host):
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(str(host).split("%")[0]).is_loopback
    except ValueError:
        return False
def hook(event, args):
    if event in ("socket.bind", "socket.connect", "socket.sendto", "socket.sendmsg"):
        sock, address = args[0], args[1]
        # paho binds its sockets to any address and port before it connects them
        if event == "socket.bind" and sock.type == socket.SOCK_STREAM and address == ("", 0):
            return
        if sock.family in (socket.AF_INET, socket.AF_INET6) and isinstance(address, tuple) and not loopback(address[0]):
            raise OSError(errno.ENETUNREACH, f"loopback only ({event} {address})")
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        if args[0] and not loopback(args[0]):
            raise socket.gaierror(socket.EAI_NONAME, f"loopback only ({args[0]})")
try:                                   # c-ares (aiodns) makes its sockets in C
    import pycares
    first = pycares.Channel.__init__
    def channel(self, *a, **k):
        k.update(servers=["127.0.0.1"], timeout=0.3, tries=1)
        first(self, *a, **k)
    pycares.Channel.__init__ = channel
except ImportError:
    pass
import zeroconf, zeroconf._utils.net as net
new = net.new_socket                   # mDNS: a socket that nobody reaches instead of *:5353
net.new_socket = lambda bind_addr=None, port=0, ip_version=None, apple_p2p=False: new(
    bind_addr=("127.0.0.1",), port=0, ip_version=zeroconf.IPVersion.V4Only)
sys.addaudithook(hook)
end = threading.Timer(float(os.environ["HA_LIFETIME"]), os.kill, (os.getpid(), signal.SIGTERM))
end.daemon = True
end.start()
from homeassistant.__main__ import main
sys.exit(main())
'''

BASE = """# written by ha_up.py; do not edit
homeassistant:
  name: Fixture
  latitude: 52.0
  longitude: 5.0
  elevation: 0
  unit_system: metric
  currency: EUR
  country: NL
  language: en
  time_zone: Europe/Amsterdam
  internal_url: "http://127.0.0.1:{port}"
api:
onboarding:
history:
energy:
logger:
  default: warning
recorder:
  commit_interval: 1
  auto_purge: false
input_boolean:
  grid_available:
    name: Grid available
    initial: true
input_number:
{numbers}template:
  - sensor:
{sensors}"""
NUMBERS = {"grid_power": 0, "grid_l1": 0, "grid_l2": 0, "grid_l3": 0, "solar_power": 0, "battery_power": 0,
           "grid_import_energy": 1000, "grid_export_energy": 500}
ON = "is_state('input_boolean.grid_available', 'on')"


def number(name):
    return f"states('input_number.{name}') | float"


# name: unit, state, availability
SENSORS = {
    "Grid power": ("W", number("grid_power"), ON),
    "Grid power kW": ("kW", f"{number('grid_power')} / 1000", ON),
    "Grid L1 power": ("W", number("grid_l1"), ON),
    "Grid L2 power": ("W", number("grid_l2"), ON),
    "Grid L3 power": ("W", number("grid_l3"), ON),
    "Solar power": ("W", number("solar_power"), ON),
    "Battery power": ("W", number("battery_power"), ON),
    "Grid import energy": ("kWh", number("grid_import_energy"), ON),
    "Grid export energy": ("kWh", number("grid_export_energy"), ON),
    "Grid import power": ("W", f"[{number('grid_power')}, 0] | max", "true"),
    "Grid export power": ("W", f"[0 - ({number('grid_power')}), 0] | max", "true"),
    "Always unavailable power": ("W", "1", "false"),
    "Always unknown power": ("W", "none", "true"),
}


def configuration(port):
    numbers = "".join(f"  {name}:\n    min: -1000000\n    max: 100000000\n    step: 0.001\n    mode: box\n"
                      f"    initial: {value}\n" for name, value in NUMBERS.items())
    sensors = ""
    for name, (unit, state, available) in SENSORS.items():
        energy = unit == "kWh"
        sensors += (f'      - name: "{name}"\n        unique_id: fx_{name.lower().replace(" ", "_")}\n'
                    f'        unit_of_measurement: "{unit}"\n'
                    f'        device_class: {"energy" if energy else "power"}\n'
                    f'        state_class: {"total_increasing" if energy else "measurement"}\n'
                    f'        state: "{{{{ {state} }}}}"\n        availability: "{{{{ {available} }}}}"\n')
    return BASE.format(port=port, numbers=numbers, sensors=sensors)


class Refused(Exception):
    """Home Assistant answered a command with an error."""


class Session:
    """One WebSocket to Home Assistant, as `async with Session(ha) as ws: await ws.call("get_config")`."""

    def __init__(self, ha):
        self.ha, self.ids, self.events = ha, itertools.count(1), []

    async def __aenter__(self):
        self.http = aiohttp.ClientSession()
        try:
            self.ws = await self.http.ws_connect(self.ha.ws, max_msg_size=0)
            await self.ws.receive_json(timeout=10)
            await self.ws.send_json({"type": "auth", "access_token": self.ha.token})
            answer = await self.ws.receive_json(timeout=10)
            if answer["type"] != "auth_ok":
                raise Refused(answer)
        except BaseException:
            await self.http.close()
            raise
        return self

    async def __aexit__(self, *_):
        await self.ws.close()
        await self.http.close()

    async def call(self, kind, **fields):
        """Send a command; its result. Events that come meanwhile are kept in `events`."""
        number = next(self.ids)
        await self.ws.send_json({"id": number, "type": kind, **fields})
        while True:
            answer = await self.ws.receive_json(timeout=30)
            if answer.get("id") == number and answer["type"] == "result":
                if not answer["success"]:
                    raise Refused(f"{kind}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)


class HomeAssistant:
    """One instance in a folder of its own. `start`, `kill` (SIGKILL), `stop`, `set`, `state`, `rest`."""

    def __init__(self, folder, port, lifetime=14400):
        self.folder, self.port, self.lifetime = Path(folder), port, lifetime
        self.url, self.ws = f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}/api/websocket"
        self.log, self.token, self.process = self.folder / "ha.log", None, None

    # -- configuration
    def write(self):
        storage = self.folder / ".storage"
        storage.mkdir(parents=True, exist_ok=True)
        (self.folder / "configuration.yaml").write_text(configuration(self.port))
        (self.folder / "run.py").write_text(GUARD)

        def store(key, version, data, overwrite=False):
            file = storage / key
            if overwrite or not file.exists():
                file.write_text(json.dumps({"version": version, "minor_version": 1, "key": key, "data": data}))
                file.chmod(0o600)
        # `http:` in YAML would only be migrated as a trial that is taken back after 5 minutes
        store("http", 1, {"server_host": ["127.0.0.1"], "server_port": self.port,
                          "cors_allowed_origins": ["https://cast.home-assistant.io"],
                          "login_attempts_threshold": -1, "ip_ban_enabled": False,
                          "ssl_profile": "modern", "use_x_frame_options": True}, overwrite=True)
        # these onboarding steps would create entries that talk to the internet
        store("onboarding", 4, {"done": ["core_config", "analytics"]})
        store("core.network", 1, {"configured_adapters": ["lo"]})
        store("core.analytics", 1, {"onboarded": True, "preferences": {}, "uuid": None})

    # -- process
    def spawn(self):
        """Start the process without waiting for it."""
        self.write()
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", self.port))
        # a variable of the machine must not reach a proxy, an index or a Supervisor
        keep = {k: v for k, v in os.environ.items() if k.upper() in ("PATH", "HOME", "LANG", "TMPDIR")}
        env = {**keep, "UV_OFFLINE": "1", "PIP_NO_INDEX": "1", "PYTHONUNBUFFERED": "1", "PYTHONNOUSERSITE": "1",
               "HA_LIFETIME": str(self.lifetime)}
        with open(self.log, "ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, str(self.folder / "run.py"), "-c", str(self.folder), "--skip-pip"],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=env, cwd=self.folder,
                start_new_session=True)

    def start(self):
        """Start it and wait until it is RUNNING; onboards and makes a long-lived token the first time."""
        self.spawn()
        try:
            self.wait_running()
        except BaseException:
            self.kill()
            raise
        return self

    def wait_running(self):
        deadline = time.monotonic() + START_SECONDS
        while True:
            if self.process.poll() is not None:
                raise RuntimeError(f"Home Assistant ended with {self.process.returncode}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"Home Assistant was not RUNNING in {START_SECONDS} s:\n{self.tail()}")
            try:
                if self.token is None:
                    if self.request("GET", "/manifest.json")[0] == 200:
                        self.onboard()
                elif self.rest("GET", "/api/core/state")[1].get("state") == "RUNNING":
                    return
            except (OSError, AttributeError):  # not listening yet; a 404 while it starts is no object
                pass
            time.sleep(0.1)

    def kill(self):
        """SIGKILL, as a crash or a power cut."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)

    def stop(self):
        """SIGTERM, as a user's stop."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()

    def tail(self, lines=25):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    # -- REST
    def request(self, method, path, data=None, token=None, form=False):
        """(status, JSON or text)."""
        headers, body = {}, None
        if data is not None:
            body = (urllib.parse.urlencode(data) if form else json.dumps(data)).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded" if form else "application/json"
        if token:
            headers["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as answer:
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as e:
            status, text = e.code, e.read().decode(errors="replace")
        with contextlib.suppress(ValueError):
            return status, json.loads(text)
        return status, text

    def rest(self, method, path, data=None):
        return self.request(method, path, data, token=self.token)

    def onboard(self):
        client = self.url + "/"
        status, answer = self.request("POST", "/api/onboarding/users", {
            "client_id": client, "name": "Fixture", "username": USER, "password": PASSWORD, "language": "en"})
        if status == 404:  # that part of Home Assistant is not loaded yet
            return
        if status != 200:  # the user exists already
            status, flow = self.request("POST", "/auth/login_flow", {
                "client_id": client, "redirect_uri": client, "handler": ["homeassistant", None]})
            status, flow = self.request("POST", f"/auth/login_flow/{flow['flow_id']}", {
                "client_id": client, "username": USER, "password": PASSWORD})
            answer = {"auth_code": flow["result"]}
        status, answer = self.request("POST", "/auth/token", {
            "grant_type": "authorization_code", "code": answer["auth_code"], "client_id": client}, form=True)
        self.token = answer["access_token"]
        self.rest("POST", "/api/onboarding/integration", {"client_id": client, "redirect_uri": client + "?auth_callback=1"})
        self.token = asyncio.run(self.long_lived_token())
        # Home Assistant writes its tokens a moment later: one that is killed before would not know this one again.
        auth, deadline = self.folder / ".storage/auth", time.monotonic() + 30
        while not (auth.exists() and '"long_lived_access_token"' in auth.read_text()):
            if time.monotonic() > deadline:
                raise RuntimeError("Home Assistant did not store its token within 30 s")
            time.sleep(0.2)

    async def long_lived_token(self):
        async with Session(self) as ws:
            return await ws.call("auth/long_lived_access_token", client_name=f"fixture {time.time()}", lifespan=365)

    # -- what the tests do with it
    def set(self, **numbers):
        """Set input numbers, e.g. `set(grid_power=-800)`."""
        for name, value in numbers.items():
            status, answer = self.rest("POST", "/api/services/input_number/set_value",
                                       {"entity_id": f"input_number.{name}", "value": value})
            assert status == 200, answer

    def available(self, on):
        """Make the grid sensors available or not."""
        status, answer = self.rest("POST", f"/api/services/input_boolean/turn_{'on' if on else 'off'}",
                                   {"entity_id": "input_boolean.grid_available"})
        assert status == 200, answer

    def state(self, entity, value, unit="W", **attributes):
        """Make a state that no integration owns; it is gone after a restart."""
        data = {"state": str(value), "attributes": {"unit_of_measurement": unit, "device_class": "power", **attributes}}
        status, answer = self.rest("POST", f"/api/states/{entity}", data)
        assert status in (200, 201), answer

    def read(self, entity):
        return self.rest("GET", f"/api/states/{entity}")[1]

    def info(self):
        return {"url": self.url, "ws": self.ws, "token": self.token, "pid": self.process.pid, "port": self.port,
                "folder": str(self.folder), "log": str(self.log)}


# -- the command
def running(folder):
    """What `up` wrote, if that process is alive and ours (its command line names the folder)."""
    try:
        info = json.loads((folder / "up.json").read_text())
        command = Path(f"/proc/{info['pid']}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return info if str(folder).encode() in command else None


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--port", type=int, default=18123)
    p.add_argument("--folder", type=Path)
    p.add_argument("--lifetime", type=float, default=14400)
    for name in ("stop", "status", "fresh"):
        p.add_argument(f"--{name}", action="store_true")
    a = p.parse_args()
    folder = (a.folder or python_env.CACHE / f"config-{a.port}").resolve()
    info = running(folder)
    if a.status:
        if info is None:
            sys.exit(3)
        return print(json.dumps(info))
    if info and (a.stop or a.fresh):
        os.kill(info["pid"], signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while running(folder) and time.monotonic() < deadline:
            time.sleep(0.1)
        info = None
    if a.stop:
        return None
    if a.fresh and (folder / "configuration.yaml").exists():
        shutil.rmtree(folder)
    if info is None:
        info = HomeAssistant(folder, a.port, a.lifetime).start().info()
        (folder / "up.json").touch(0o600)
        (folder / "up.json").write_text(json.dumps(info))
    return print(json.dumps(info))


if __name__ == "__main__":
    main()
