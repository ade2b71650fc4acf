"""The program as the Supervisor runs it: from its options.json, with a token, the Network card and Core behind the proxy.

Runs the binary in a mount namespace with a /run of its own; with VIRTUAL_SHELLY_IMAGE (a name that tests/tools/local_image.sh
built, root) the image instead, with its own entry point and /data bound, in a network that has the addresses of the Supervisor's
bridge (scripts/test makes it).
"""
import contextlib
import fcntl
import hashlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from fake_supervisor import FakeSupervisor
from harness import LOCAL, ROOT, fetch, free_port, free_range, near, udp, until

IMAGE = os.environ.get("VIRTUAL_SHELLY_IMAGE")
# The image's environment cannot be extended: there the Supervisor and its bridge have the addresses that they have in a home.
SUPERVISOR, BRIDGE = "172.30.32.2", "172.30.32.1"
USER = [] if os.geteuid() == 0 else ["--map-root-user"]
# In a container without privileges there is one /run for all: then one app at a time, without a namespace.
ALONE = not IMAGE and subprocess.run(["unshare", *USER, "--mount", "true"], capture_output=True).returncode != 0


class App:
    """The installed app."""

    def __init__(self, binary, folder, supervisor):
        self.binary, self.supervisor = binary, supervisor
        self.data, self.log_file = folder / "data", folder / "log"
        self.data.mkdir()
        self.http_port, self.udp_port, ws = free_port(), free_port(), free_range(2)
        supervisor.network = {"80/tcp": self.http_port, "502/tcp": None, "1010/udp": self.udp_port, "2220/udp": None,
                              "2222/udp": None, "2223/udp": None}
        supervisor.options |= {"bind": LOCAL, "ws_port_start": ws, "ws_port_end": ws + 1, "mdns_enable": False, "store_interval": 10}
        self.process = None

    def start(self, wait=True):
        self.supervisor.write_options(self.data)
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(self._command(), env=self._environment(), stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=subprocess.STDOUT, start_new_session=True)
        if wait:
            until(lambda: self.get("/livez").status == 200, 30, "the app answers")
        return self

    def _command(self):
        if IMAGE:
            return [str(ROOT / "tests/tools/local_image.sh"), "run", IMAGE, str(self.data)]
        if ALONE:
            return [str(self.binary), "run", "--data-dir", str(self.data)]
        own_run = 'mount -t tmpfs none /run && exec "$0" run --data-dir "$1"'
        return ["unshare", *USER, "--mount", "sh", "-c", own_run, str(self.binary), str(self.data)]

    def _environment(self):
        keep = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")}
        if IMAGE:
            return {**keep, "SUPERVISOR_TOKEN": self.supervisor.token, "EXTRA_HOSTS": f"{SUPERVISOR} supervisor hassio"}
        return {**keep, "TZ": "Europe/Berlin", "SUPERVISOR_TOKEN": self.supervisor.token,
                "VIRTUAL_SHELLY_SUPERVISOR_URL": self.supervisor.url, "VIRTUAL_SHELLY_INGRESS_BIND": LOCAL}

    def pid(self):
        """The service's own process, by the token that only it has."""
        for proc in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.readlink(proc / "exe").endswith("virtual-shelly") and self.supervisor.token.encode() in (proc / "environ").read_bytes():
                    return int(proc.name)
        raise AssertionError(f"it does not run:\n{self.log()}")

    def ask(self, *words):
        """A sub-command, as `docker exec` and the Supervisor's hooks run it: (exit code, text)."""
        inside = [] if ALONE else ["nsenter", "-t", str(self.pid()), "-m"]
        if IMAGE:
            inside += ["-r", "--", "/usr/bin/virtual-shelly", *words]
        else:
            inside += ["-U", "--preserve-credentials"] if USER and not ALONE else []
            inside += [str(self.binary), *words]
        done = subprocess.run(inside, env=self._environment(), capture_output=True, text=True, timeout=70)
        return done.returncode, done.stdout + done.stderr

    def stop(self):
        """SIGTERM, as `docker stop`; how long it took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20)
        took = time.monotonic() - began
        assert code == 0, f"exit code {code}:\n{self.log()}"
        return took

    def end(self):
        if self.process and self.process.poll() is None:
            with contextlib.suppress(AssertionError, ProcessLookupError):
                os.kill(self.pid(), signal.SIGKILL)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)

    def log(self):
        return self.log_file.read_text(errors="replace")

    def get(self, path):
        return fetch(self.http_port, "GET", path)

    def total(self):
        return self.get("/rpc/EM.GetStatus?id=0").json()["total_act_power"]

    def energy(self):
        return self.get("/rpc/EMData.GetStatus?id=0").json()["total_act"]


@pytest.fixture
def supervisor(fake_ha):
    fake_ha.set("sensor.grid", "512")
    where = {"host": SUPERVISOR, "port": 80} if IMAGE else {}
    one = FakeSupervisor(fake_ha, options={"meters": [], "total_power": "sensor.grid"}, **where).start()
    yield one
    one.close()


@pytest.fixture
def app(binary, tmp_path, supervisor):
    with open(Path(tempfile.gettempdir()) / "virtual-shelly-app.lock", "w") as lock:
        if ALONE or IMAGE:
            fcntl.flock(lock, fcntl.LOCK_EX)
        one = App(binary, tmp_path, supervisor)
        yield one
        one.end()
    assert "panicked at" not in one.log()
    assert supervisor.token not in one.log(), "the token is a secret"


def files(folder):
    """What a backup would copy: name, size, content."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if p.is_file() and not p.name.endswith(".sock")}


def test_ports_of_the_network_card_and_power_through_the_proxy(app, supervisor, fake_ha):
    app.start()
    until(lambda: near(app.total(), 512), 10)
    fake_ha.set("sensor.grid", "-1234.5")
    until(lambda: near(app.total(), -1234.5), 2)
    answer = udp(app.udp_port, {"id": 1, "src": "x", "method": "EM.GetStatus", "params": {"id": 0}})
    assert near(json.loads(answer)["result"]["total_act_power"], -1234.5)
    assert "502/tcp off" in app.log()
    ours = [call for call in supervisor.calls if call == "GET /addons/self/info"]
    assert 1 <= len(ours) <= 3, "asked at start, not in a loop"
    assert not any("core/api/states" in call for call in supervisor.calls)


def page(supervisor, path, source=None):
    """Status, headers and text of a page at the ingress port, as the Supervisor's proxy asks for it."""
    host = BRIDGE if IMAGE else LOCAL
    connection = http.client.HTTPConnection(host, supervisor.ingress_port, timeout=10, source_address=source and (source, 0))
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"X-Ingress-Path": "/api/hassio_ingress/abc", "Accept-Language": "de"})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()


def test_the_ingress_port_is_the_supervisors_alone(app, supervisor):
    app.start()
    refused = until(lambda: page(supervisor, "/"), 15, "the port that the Supervisor named is open")
    assert refused[0] == 403 and "Home Assistant" in refused[2]


@pytest.mark.skipif(not IMAGE, reason="only there the Supervisor has its own address")
def test_the_image_holds_all_that_the_pages_need(app, supervisor):
    app.start()
    until(lambda: near(app.total(), 512), 10)
    until(lambda: page(supervisor, "/", SUPERVISOR), 15)
    linked = set()
    for path in ("/", "/energy", "/readers", "/health", "/settings", "/setup"):
        status, headers, text = page(supervisor, path, SUPERVISOR)
        assert status == 200 and '<html lang="de"' in text, path
        assert headers["content-type"].startswith("text/html") and "nonce-" in headers["content-security-policy"]
        linked |= {link for link in re.findall(r'(?:href|src)="([^"]+)"', text) if re.search(r"\.(css|js|svg|png)\b", link)}
    assert any(".css" in link for link in linked) and any(".js" in link for link in linked), linked
    for link in linked:
        assert not link.startswith("/") and ":" not in link, f"{link} leaves the prefix"
        status, headers, text = page(supervisor, "/" + link.removeprefix("./"), SUPERVISOR)
        assert status == 200 and len(text) > 100, link
    assert "512" in page(supervisor, "/", SUPERVISOR)[2], "the value is in the page itself"


def test_core_comes_late_and_goes_again(app, supervisor, fake_ha):
    supervisor.core_state(False)
    app.start()
    until(lambda: "GET /core/websocket" in supervisor.calls, 10)
    assert app.ask("health") == (0, ""), "an absent Home Assistant is cured by no restart"
    assert app.total() is None, "before the first value there is none"
    supervisor.core_state(True)
    until(lambda: near(app.total(), 512), 15)
    supervisor.core_state(False)
    until(lambda: not supervisor.sockets, 5)
    assert near(app.total(), 512), "held"
    fake_ha.set("sensor.grid", "777")
    supervisor.core_state(True)
    until(lambda: near(app.total(), 777), 15)
    assert app.log().count("502") <= 3, "no storm of lines"


def test_stop_saves_all_in_two_seconds_and_a_restart_keeps_who_it_is(app):
    app.start()
    until(lambda: near(app.total(), 512), 10)
    until(lambda: (app.energy() or 0) > 0.3, 15)
    mac, energy = app.get("/shelly").json()["mac"], app.energy()
    took = app.stop()
    assert took < 2.0, f"{took:.1f} s"
    assert "all is saved" in app.log()
    app.start()
    assert app.get("/shelly").json()["mac"] == mac
    until(lambda: near(app.total(), 512), 10)
    assert until(app.energy, 10) >= energy, "counters never fall"
    os.kill(app.pid(), signal.SIGKILL)
    app.process.wait(10)
    app.start()
    assert app.get("/shelly").json()["mac"] == mac, "also after a crash"
    assert app.stop() < 2.0


def test_a_silent_supervisor_leaves_the_ports_of_last_time(app, supervisor):
    app.start()
    until(lambda: near(app.total(), 512), 10)
    app.stop()
    supervisor.stop()
    app.start()
    assert "those of the last start" in app.log()
    assert app.get("/shelly").status == 200
    supervisor.start()
    until(lambda: near(app.total(), 512), 30)


def test_backup_freezes_the_files_and_metering_goes_on(app, fake_ha):
    app.start()
    until(lambda: (app.energy() or 0) > 0.1, 15)
    assert app.ask("backup", "begin") == (0, "")
    before, energy = files(app.data), app.energy()
    assert before and not [name for name in before if name.endswith(("-wal", "-shm", "-journal"))], before
    opened = [os.readlink(fd) for fd in Path(f"/proc/{app.pid()}/fd").iterdir() if fd.is_symlink()]
    assert not [name for name in opened if "sqlite" in name or name.endswith(".db")], opened
    fake_ha.set("sensor.grid", "3600")
    until(lambda: near(app.total(), 3600), 2)
    until(lambda: app.energy() > energy + 2, 10, "counting goes on")
    # The counters' sidecar of fixed size is written in place, at most each store_interval; everything else stands still.
    after = files(app.data)
    assert {k: v for k, v in after.items() if k != "meter.json"} == {k: v for k, v in before.items() if k != "meter.json"}
    assert app.ask("health") == (0, ""), "frozen is not ill"
    assert app.ask("backup", "end") == (0, "")
    until(lambda: files(app.data) != after, 20, "what was counted meanwhile is written")
    assert app.stop() < 2.0


def test_hooks_and_health_say_so_when_nobody_is_there(binary, tmp_path):
    environment = {"PATH": os.environ["PATH"], "VIRTUAL_SHELLY_DATA_DIR": str(tmp_path)}
    for words in (["health"], ["backup", "begin"]):
        done = subprocess.run([str(binary), *words], env=environment, capture_output=True, text=True, timeout=20)
        assert done.returncode == 1 and "nobody answers" in done.stderr
