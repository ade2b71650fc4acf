"""The program as the Supervisor runs it: from its options.json, with a token, the Network card and Core behind the proxy."""
import contextlib
import hashlib
import http.client
import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

import app_options
from fake_ingress import ADMINISTRATOR
from fake_supervisor import FakeSupervisor
from harness import LOCAL, near, udp, until
from installed import BRIDGE, IMAGE, SUPERVISOR, installed


@pytest.fixture
def supervisor(fake_ha):
    fake_ha.set("sensor.grid", "512")
    where = {"host": SUPERVISOR, "port": 80} if IMAGE else {}
    one = FakeSupervisor(fake_ha, options={"meters": [], "total_power": "sensor.grid"}, **where).start()
    yield one
    one.close()


@pytest.fixture
def app(binary, tmp_path, supervisor):
    with installed(binary, tmp_path, supervisor) as one:
        yield one


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
    first = until(lambda: re.search(r"serves (.*) meter=1\n(?s:.*)read: (.*)\n", app.log()), 10, "what it serves is in the log's first lines")
    assert f"HTTP {app.http_port}" in first[1] and f"UDP {app.udp_port}" in first[1] and "Modbus" not in first[1] and first[2] == "1 entity"
    assert f"ingress port {supervisor.ingress_port}" in app.log()
    ours = [call for call in supervisor.calls if call == "GET /addons/self/info"]
    assert 1 <= len(ours) <= 3, "asked at start, not in a loop"
    assert not any(call.endswith("core/api/states") for call in supervisor.calls)


def test_config_and_a_refused_value(app, supervisor, monkeypatch):
    """What a person sees who asks inside the app, and in the log where a value got past the form."""
    monkeypatch.setattr(app_options, "check", lambda options: (options, []))
    supervisor.options |= {"hold": 99999}
    app.start()
    code, text = app.ask("config", *([] if IMAGE else ["--data-dir", str(app.data)]))
    assert code == 0 and f"http_port = {app.http_port} (" in text and "modbus_port = off" in text, text
    assert "hold" in text and "99999" in text, "what was refused is named"
    lines = [line for line in app.log().splitlines() if "phase A: no value" in line]
    assert lines and "hold" in lines[0] and "no power entity is configured" not in app.log(), app.log()


@pytest.mark.parametrize("key, value", [("firmware", "v1.7.1"), ("mac", "000000000000"), ("mac", "FFFFFFFFFFFF"), ("fw_id", "1.7.1"),
                                        ("device_id", "shellypro3em-garage"), ("meters", [{"name": "x", "mac": "00:00:00:00:00:00", "http_port": 1}])])
def test_no_option_ends_an_app(app, supervisor, key, value):
    """What the Supervisor's form lets through is named in log and /healthz, and the meter goes on as itself."""
    supervisor.options[key] = value
    app.start()
    until(lambda: near(app.total(), 512), 10)
    wrong = "meters[0].mac" if key == "meters" else key
    assert app.get("/shelly").json()["id"].startswith("shellypro3em-") and wrong in str(app.get("/healthz").json()["problems"])
    assert f"{wrong} = " in app.log() and "panicked" not in app.log()
    app.stop()


def page(supervisor, path, source=None):
    """Status, headers and text of a page at the ingress port, as the Supervisor's proxy asks for it."""
    connection = http.client.HTTPConnection(BRIDGE, supervisor.ingress_port, timeout=10, source_address=source and (source, 0))
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"X-Ingress-Path": "/api/hassio_ingress/abc", "Accept-Language": "de",
                                                "X-Remote-User-Id": ADMINISTRATOR})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()


@pytest.mark.skipif(not IMAGE, reason="only there the Supervisor has its own address")
def test_the_image_holds_all_that_the_pages_need(app, supervisor):
    app.start()
    until(lambda: near(app.total(), 512), 10)
    until(lambda: page(supervisor, "/", SUPERVISOR), 15, "the port that the Supervisor named is open")
    status, _, text = page(supervisor, "/")
    assert status == 403 and "Home Assistant" in text, "another address"
    linked = set()
    for path in ("/", "/energy", "/readers", "/forecast", "/health", "/settings", "/setup"):
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
    assert app.log().count("says the Supervisor (502)") <= 3, "no storm of lines"


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
