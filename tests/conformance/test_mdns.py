"""mDNS by python-zeroconf on loopback: found, resolved, the same after a restart, gone at the goodbye."""
import json
import os
import re
import socket
import subprocess

import pytest
from zeroconf import IPVersion, ServiceBrowser, ServiceListener, Zeroconf

from harness import LOCAL, fetch, free_port, until

HTTP, SHELLY = "_http._tcp.local.", "_shelly._tcp.local."
VICTRON = r"^shelly[\d\w\-]+-[0-9a-f]{12}\._shelly\._tcp\.local\.$"
OPTIONS = {"mdns_interfaces": ["lo"]}
ARGS = ["--source", "demo"]


class Found(ServiceListener):
    """What is announced now, by name."""

    def __init__(self):
        self.now, self.removed = set(), []

    def add_service(self, zc, kind, name):
        self.now.add(name)

    def update_service(self, zc, kind, name):
        self.now.add(name)

    def remove_service(self, zc, kind, name):
        self.now.discard(name)
        self.removed.append(name)


@pytest.fixture
def browser():
    """(zeroconf, what it found)"""
    zc, found = Zeroconf(interfaces=[LOCAL], ip_version=IPVersion.V4Only), Found()
    ServiceBrowser(zc, [HTTP, SHELLY], found)
    yield zc, found
    zc.close()


def resolve(zc, kind, instance):
    info = until(lambda: zc.get_service_info(kind, f"{instance}.{kind}", 1000), 5, f"{instance} resolves")
    text = {k.decode(): (v or b"").decode() for k, v in info.properties.items()}
    return info, text


def test_found_and_resolved(browser, new_meter):
    zc, found = browser
    meter = new_meter(OPTIONS, args=ARGS, mdns=True).start()
    device = meter.info()
    names = {f"{device['id']}.{HTTP}", f"{device['id']}.{SHELLY}"}
    until(lambda: names <= found.now, 10, "both services are found")
    assert re.fullmatch(VICTRON, f"{device['id']}.{SHELLY}")
    for kind, expected in ((HTTP, {"gen": "2"}), (SHELLY, {"gen": "2", "app": "Pro3EM", "ver": device["ver"]})):
        info, text = resolve(zc, kind, device["id"])
        assert info.server == f"ShellyPro3EM-{device['mac']}.local.", "host with the MAC in capitals"
        assert info.port == meter.http_port and info.parsed_addresses() == [LOCAL] and text == expected
    meter.restart()
    assert meter.info() == device
    until(lambda: names <= found.now, 10)
    assert resolve(zc, SHELLY, device["id"])[0].port == meter.http_port
    meter.stop()
    until(lambda: not names & found.now, 5, "goodbye")
    assert names <= set(found.removed)


def test_back_by_itself_after_a_crash(browser, new_meter):
    """A reader's list says "gone" and "here" again: an announcement like the one before the crash would be no news."""
    zc, found = browser
    meter = new_meter(OPTIONS, args=ARGS, mdns=True).start()
    device = meter.info()
    names = {f"{device['id']}.{HTTP}", f"{device['id']}.{SHELLY}"}
    until(lambda: names <= found.now, 10, "both services are found")
    meter.kill()
    assert not found.removed
    meter.start()
    assert meter.info() == device
    until(lambda: names <= set(found.removed), 10, "the goodbye before the announcement")
    until(lambda: names <= found.now, 10, "back by itself")


def test_a_name_is_announced_beside_the_id(browser, new_meter):
    zc, found = browser
    name = f"Zähler {new_meter.__name__} {os.getpid()}"
    meter = new_meter({**OPTIONS, "device_name": name}, args=ARGS, mdns=True).start()
    device = meter.info()
    until(lambda: {f"{device['id']}.{SHELLY}", f"{name}.{SHELLY}"} <= found.now, 15, "id and name are found")
    info, text = resolve(zc, SHELLY, name)
    assert info.server == f"Z-hler-{new_meter.__name__}-{os.getpid()}.local." and info.parsed_addresses() == [LOCAL]
    assert text == {"gen": "2", "app": "Pro3EM", "ver": device["ver"]} and info.port == meter.http_port
    assert f"{name}.{HTTP}" not in found.now, "as the device: by its name as _shelly._tcp only"


def test_a_further_meter_that_port_80_cannot_tell_apart(browser, new_meter, fake_ha):
    _, found = browser
    port = free_port()
    fake_ha.set("sensor.grid", 1345.5)
    fake_ha.set("sensor.solar", 77.7)
    further = {"name": "solar", "http_port": port, "total_power": "sensor.solar"}
    meter = new_meter({**OPTIONS, "total_power": "sensor.grid", "meters": [further]}, ha=fake_ha, mdns=True).start()
    first, second = meter.info(), fetch(port, "GET", "/shelly").json()
    assert first["id"] != second["id"]
    until(lambda: {f"{first['id']}.{SHELLY}", f"{first['id']}.{HTTP}", f"{second['id']}.{HTTP}"} <= found.now, 15)
    assert f"{second['id']}.{SHELLY}" not in found.now
    assert re.search("not announced as _shelly._tcp: .*`bind`.* meter=solar", meter.log())
    host = {"Host": f"ShellyPro3EM-{second['mac']}.local"}
    assert fetch(meter.http_port, "GET", "/shelly", headers=host).json()["mac"] == second["mac"], "by its host name it is told apart"


def test_profiles(browser, new_meter):
    zc, _ = browser
    for profile, expected in (("extended", {"gen": "2", "app": "Pro3EM"}), ("solakon", {"gen": "3", "app": "shellypro3em"})):
        meter = new_meter({**OPTIONS, "mdns_profile": profile}, args=ARGS, mdns=True).start()
        device = meter.info()
        _, text = resolve(zc, SHELLY, device["id"])
        assert text.items() >= expected.items() and text["id"] == device["id"] and text["model"] == device["model"]
        assert text["mac"].replace(":", "") == device["mac"] and text["fw_id"] == device["fw_id"]
        meter.stop()


def test_not_announced_without_the_port(browser, new_meter):
    _, found = browser
    meter = new_meter(OPTIONS, args=ARGS, mdns=True)
    with socket.socket() as taken:
        taken.bind((LOCAL, meter.http_port))
        taken.listen()
        meter.start(meter.dashboard_port)
        device = meter.admin()["device"]["id"]
        with pytest.raises(AssertionError):
            until(lambda: f"{device}.{SHELLY}" in found.now, 4)
    until(lambda: f"{device}.{SHELLY}" in found.now, 40, "announced once the port is ours")


def test_off_with_demo_unless_asked(browser, new_meter):
    _, found = browser
    meter = new_meter(OPTIONS, args=ARGS).start()
    device = meter.info()["id"]
    with pytest.raises(AssertionError):
        until(lambda: f"{device}.{SHELLY}" in found.now, 3)


def test_it_looks_for_itself_as_a_reader_would(new_meter):
    meter = new_meter(OPTIONS, args=ARGS, mdns=True).start()

    def asked():
        lines = [line for line in meter.get("/healthz").json()["listeners"] if line["name"] == "mdns-query"]
        return lines and lines[0]
    line = until(asked, 15, "the question is asked")
    assert line["state"] == "listening" and line["address"] == f"ShellyPro3EM-{meter.info()['mac']}.local"


def test_it_is_found_as_its_readers_look_for_it(new_meter, binary):
    """`test-as` looks both kinds up on the network, and says where the port is not theirs."""
    meter = new_meter(OPTIONS, args=ARGS, mdns=True).start()
    words = ["test-as", "hoymiles", "--json", "--source", "demo", "--mdns-enable", "--mdns-interfaces", "lo", "--http-port", str(meter.http_port),
             "--data-dir", str(meter.data)]
    ours = {"PATH": os.environ["PATH"]}

    def asked():
        done = subprocess.run([binary, *words], capture_output=True, text=True, timeout=40, env=ours)
        told = json.loads(done.stdout)
        looked = [step for step in told["steps"] if step["call"].startswith("mDNS")]
        return done.returncode == 0 and [(step["state"], [why["kind"] for why in step["why"]]) for step in looked] == [("note", ["port"])] * 2
    until(asked, 15, "announced, with its address, on another port than 80")
    meter.stop()
    done = subprocess.run([binary, *words], capture_output=True, text=True, timeout=40, env=ours)
    assert done.returncode == 1
