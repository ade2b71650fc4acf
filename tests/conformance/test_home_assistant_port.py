"""Home Assistant's own port is never the meter's, whatever the options say, whoever was there first."""
import contextlib
import json
import socket
import time
import threading

import pytest

import ha_up
from fake_supervisor import FakeSupervisor
from harness import LOCAL, fetch, free_port, near, until
from installed import IMAGE, installed

RESTART = 100  # Home Assistant's exit code that asks its supervisor to start it again
HERE = "Home Assistant itself is on this port"


def listening(port):
    with socket.socket() as one:
        one.settimeout(1)
        return one.connect_ex((LOCAL, port)) == 0


def lines(meter, name):
    """The states of the listeners of a name, as the page knows them."""
    health = fetch(meter.dashboard_port, "GET", "/diagnostics", timeout=5)
    return [line for line in json.loads(health.text)["listeners"] if line["name"] == name]


@contextlib.contextmanager
def never_ours(port):
    """While this goes on, whoever answers at the port is not the meter."""
    stop, seen = threading.Event(), []

    def look():
        while not stop.wait(0.05):
            with contextlib.suppress(Exception):
                if fetch(port, "GET", "/shelly", timeout=2).status == 200:
                    seen.append(time.monotonic())
    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert not seen, "the meter answered at Home Assistant's port"


def recovery(ha):
    return ha.rest("GET", "/api/config")[1]["recovery_mode"]


def test_home_assistant_comes_back_on_its_port(own_ha, new_meter):
    """Home Assistant OS since 2026.8 has Home Assistant on port 80, which is the meter's too: restarts, a long stop, a new start."""
    own_ha.set(grid_power=512)
    meter = new_meter({"total_power": "sensor.grid_power"}, ha=own_ha)
    meter.http_port = own_ha.port
    meter.spawn()
    until(lambda: HERE in meter.log(), 20, "the log says whose port it is")
    with never_ours(own_ha.port):
        for _ in range(3):
            own_ha.rest("POST", "/api/services/homeassistant/restart")
            assert own_ha.process.wait(60) == RESTART
            time.sleep(1)
            own_ha.spawn()
            own_ha.wait_running()
            assert not recovery(own_ha), own_ha.tail()
        own_ha.stop()
        meter.stop()
        meter.spawn()
        until(lambda: lines(meter, "http"), 20, "it runs")
        began = time.monotonic()
        while time.monotonic() - began < 17:  # longer than the pause of the retries
            assert not listening(own_ha.port), "not even while Home Assistant is down at the start"
            time.sleep(0.2)
        own_ha.spawn()
        own_ha.wait_running()
        assert not recovery(own_ha)
    [line] = lines(meter, "http")
    assert line["state"] == "waiting" and line["reason"].startswith(HERE) and "bind" in line["reason"] and "8123" in line["reason"]
    page = fetch(meter.dashboard_port, "GET", "/health", headers={"Accept-Language": "de"}).text
    assert "Home Assistant selbst ist auf diesem Port" in page
    assert meter.log().count(HERE) == 2, "once a start"


def test_another_address_of_the_host(own_ha, new_meter):
    """The remedy: Home Assistant on the first address by its own configuration, the meter on the second, the same port."""
    own_ha.set(grid_power=512)
    meter = new_meter({"total_power": "sensor.grid_power", "bind": "127.0.0.2"}, ha=own_ha)
    meter.http_port = own_ha.port
    command = meter.command
    meter.command = lambda: [part for part in command() if part not in ("--bind", LOCAL)]
    meter.spawn()

    def total():
        import http.client
        connection = http.client.HTTPConnection("127.0.0.2", own_ha.port, timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", "/rpc/EM.GetStatus?id=0")
            return json.loads(connection.getresponse().read())["total_act_power"]
    until(lambda: near(total(), 512), 20)
    own_ha.stop()
    own_ha.start()
    own_ha.set(grid_power=100)
    until(lambda: near(total(), 100), 20)
    assert not recovery(own_ha)


@pytest.mark.skipif(bool(IMAGE), reason="the image's ports are fixed")
def test_the_supervisor_tells_late(binary, tmp_path, fake_ha):
    """The app was there first, and only then learns where Home Assistant is: it gives the port back."""
    fake_ha.set("sensor.grid", "512")
    supervisor = FakeSupervisor(fake_ha, options={"meters": [], "total_power": "sensor.grid"}).start()
    supervisor.core_info = None
    try:
        with installed(binary, tmp_path, supervisor) as app:
            del supervisor.options["bind"]
            app.start()
            assert app.get("/shelly").status == 200
            supervisor.core_info = {"port": app.http_port, "ssl": False}
            until(lambda: not listening(app.http_port), 30, "given up")
            assert f"port {app.http_port} is given up: {HERE}" in app.log()
            # From now on it is known before the first port is opened, also when the Supervisor does not answer.
            app.stop()
            supervisor.core_info = None
            app.start(wait=False)
            until(lambda: f"port {app.http_port} is not opened: {HERE}" in app.log(), 30)
            assert not listening(app.http_port)
    finally:
        supervisor.close()


def test_a_far_home_assistant_reserves_nothing(fake_ha, new_meter):
    """Its port on another host is free here: the meter has it. (The scripted one is near, so its port is not.)"""
    fake_ha.set("sensor.grid", "512")
    meter = new_meter({"total_power": "sensor.grid"}, ha=fake_ha, env={"HA_BASE_URL": fake_ha.url}).start()
    meter.until_total(512, 5)
    meter.stop()
    port = free_port()
    meter.env["HA_BASE_URL"], meter.http_port = f"http://203.0.113.9:{port}", port
    meter.start()
    assert meter.info()["mac"]
