"""Over a real mosquitto: what a real Home Assistant finds of the meter there, and the device's own MQTT."""
import asyncio
import contextlib
import json
import shutil
import subprocess
import threading

import paho.mqtt.client as paho
import pytest

import ha_up
from fake_supervisor import FakeSupervisor
from harness import LOCAL, aio_until, fetch, free_port, near, until
from installed import IMAGE, installed
from shelly_in_ha import FLOW, rest

PASSWORDS = {"meter": "hunter2", "ha": "fixture", "test": "test"}
JSON = {"Content-Type": "application/json"}


def number(text):
    """What a text says, or None."""
    with contextlib.suppress(ValueError):
        return float(text)


class Broker:
    """A mosquitto that keeps its retained messages over a restart."""

    def __init__(self, folder):
        self.folder, self.port, self.process = folder, free_port(), None
        passwords = folder / "passwords"
        passwords.touch(0o600)
        for user, password in PASSWORDS.items():
            subprocess.run(["mosquitto_passwd", "-b", passwords, user, password], check=True, capture_output=True)
        (folder / "conf").write_text(f"listener {self.port} {LOCAL}\nallow_anonymous false\npassword_file {passwords}\n"
                                     f"persistence true\npersistence_location {folder}/\nuser root\n")
        self.options = {"mqtt_server": f"mqtt://{LOCAL}:{self.port}", "mqtt_user": "meter", "mqtt_password": PASSWORDS["meter"]}

    def start(self):
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(["mosquitto", "-c", self.folder / "conf"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(3)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)


class Listener:
    """Whatever is published, newest by topic; `kept`: what the broker had."""

    def __init__(self, broker):
        self.said, self.kept, self.lock = {}, {}, threading.Lock()
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self.client.username_pw_set("test", PASSWORDS["test"])
        self.client.on_connect = lambda client, *_: client.subscribe("#", 1)
        self.client.on_message = self.heard
        self.client.reconnect_delay_set(1, 1)
        until(lambda: self.client.connect(LOCAL, broker.port) == 0, 5)
        self.client.loop_start()

    def heard(self, _client, _data, message):
        with self.lock:
            self.said[message.topic] = message.payload.decode()

    def announced(self):
        with self.lock:
            return {topic for topic, text in self.said.items() if topic.startswith("homeassistant/device/") and text}

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def broker(tmp_path):
    folder = tmp_path / "broker"
    folder.mkdir()
    broker = Broker(folder).start()
    yield broker
    broker.process.kill()
    broker.process.wait(10)


@pytest.fixture
def listener(broker):
    listener = Listener(broker)
    yield listener
    listener.close()


async def set_up(ha, broker):
    """Home Assistant's own dialogue for a broker."""
    _, form = await rest(ha, "POST", FLOW, {"handler": "mqtt", "show_advanced_options": False})
    answer = {"broker": LOCAL, "port": broker.port, "username": "ha", "password": PASSWORDS["ha"], "protocol": "3.1.1", "other_settings": {"set_client_cert": False, "set_ca_cert": "off"}}
    status, end = await rest(ha, "POST", f"{FLOW}/{form['flow_id']}", answer)
    assert status == 200 and end["type"] == "create_entry", end.get("errors", end)
    return end["result"]["entry_id"]


class Entities:
    """Home Assistant's MQTT entities of one meter, by their unique id without its MAC."""

    def __init__(self, ws, mac):
        self.ws, self.mac, self.others = ws, mac, 0

    async def all(self):
        states = {s["entity_id"]: s for s in await self.ws.call("get_states")}
        found = [e for e in await self.ws.call("config/entity_registry/list") if e["platform"] == "mqtt" and e["entity_id"] in states]
        ours = {e["unique_id"].removeprefix(f"{self.mac}-"): states[e["entity_id"]] for e in found if e["unique_id"].startswith(self.mac)}
        self.others = len(found) - len(ours)
        return ours

    async def until(self, wanted, seconds=10):
        """Each of these states; a number is met by one that is near."""
        async def there():
            now = await self.all()
            for key, value in wanted.items():
                state = now[key]["state"]
                assert near(number(state), value) if isinstance(value, (int, float)) else state == value, (key, state)
            return now
        return await aio_until(there, seconds, str(wanted))

    async def serve(self, domain, service, entity, **data):
        await self.ws.call("call_service", domain=domain, service=service, target={"entity_id": entity["entity_id"]}, service_data=data)


async def test_home_assistant_finds_the_meter_steers_it_and_loses_it(ha, broker, listener, new_meter):
    await asyncio.to_thread(ha.set, grid_l1=100, grid_l2=-50, grid_l3=25)
    options = {"a_power": "sensor.grid_l1_power", "b_power": "sensor.grid_l2_power", "c_power": "sensor.grid_l3_power",
               "forecast_enable": False, "control": "off", **broker.options}
    further = {"name": "garage", "a_power": "sensor.grid_power", "http_port": free_port(), "bind": LOCAL}
    meter = new_meter({**options, "meters": [further]}, ha=ha).start()
    meter.until_total(75, 5)
    for _ in range(5):  # a battery that comes again and again
        assert meter.udp({"id": 1, "method": "EM.GetStatus", "params": {"id": 0}}, source="127.0.0.2")
        await asyncio.sleep(0.25)
    entry = await set_up(ha, broker)
    try:
        async with ha_up.Session(ha) as ws:
            await found_steered_and_lost(Entities(ws, meter.info()["mac"]), meter, options, broker, listener)
    finally:
        await rest(ha, "DELETE", f"/api/config/config_entries/entry/{entry}")


async def found_steered_and_lost(entities, meter, options, broker, listener):
    mac, bare = entities.mac, {"id": 1, "method": "EM.GetStatus", "params": {"id": 0}}
    now = await entities.until({"mqtt-a_act_power": 100, "mqtt-b_act_power": -50, "mqtt-source": "off", "mqtt-pause": "off",
                                "mqtt-target_offset": 0, "reader-127-0-0-2-udp-silent": "off", "reader-127-0-0-2-udp-share": 100})
    assert entities.others >= 10, "the garage too"
    energy = now["mqtt-total_act"]["attributes"]
    assert (energy["device_class"], energy["state_class"], energy["unit_of_measurement"]) == ("energy", "total_increasing", "kWh")

    async def called():
        return (await entities.all())["reader-127-0-0-2-udp-last_call"]["state"].startswith("20")
    await aio_until(called, 5)
    devices = {d["name"]: d for d in await entities.ws.call("config/device_registry/list") if any("mqtt" in i for i in d["identifiers"])}
    ours = next(d for d in devices.values() if [f"{mac}-mqtt"] == [i[1] for i in d["identifiers"]])
    assert ours["configuration_url"] == f"http://{LOCAL}:{meter.dashboard_port}/", ours
    reader = next(d for d in devices.values() if "127.0.0.2" in d["name"])
    assert reader["via_device_id"] == ours["id"]

    # Its entities are its own: they are neither offered nor taken as an input.
    offered = fetch(meter.dashboard_port, "GET", "/setup").text
    assert "sensor.grid_l1_power" in offered and now["mqtt-total_act_power"]["entity_id"] not in offered

    # An offset of 50 W leaves 50 W to draw: so much less is served.
    await entities.serve("number", "set_value", now["mqtt-target_offset"], value=50)
    await asyncio.to_thread(meter.until_total, 25, 5)
    await entities.serve("switch", "turn_on", now["mqtt-pause"])
    await asyncio.to_thread(until, lambda: meter.post("/rpc/EM.GetStatus", {"id": 0}).status == 500, 5)
    assert meter.udp(bare, source="127.0.0.2", timeout=0.3) is None
    assert "paused" in meter.get("/healthz").text and "Paused: each reader" in fetch(meter.dashboard_port, "GET", "/energy").text
    await entities.until({"mqtt-pause": "on", "mqtt-health": "on", "mqtt-a_act_power": 50, "mqtt-source": "off"})
    # What readers are told in it is chosen beside the switch.
    pause_kind = now["mqtt-pause_kind"]
    assert pause_kind["state"] == "By profile" and pause_kind["attributes"]["options"] == ["By profile", "Nothing", "0 W"]
    await entities.serve("select", "select_option", pause_kind, option="0 W")
    await entities.until({"mqtt-pause_kind": "0 W", "mqtt-a_act_power": 50})
    assert near(json.loads(meter.udp(bare, source="127.0.0.2"))["result"]["total_act_power"], 0)
    await entities.serve("select", "select_option", pause_kind, option="Nothing")
    await entities.until({"mqtt-pause_kind": "Nothing"})
    # A test that was run is a diagnosis; the others are not there.
    assert not any("test_as" in key for key in await entities.all())

    async def tested(who):
        await asyncio.to_thread(fetch, meter.dashboard_port, "POST", "/test-as", {"as": who}, JSON, timeout=40)
    def answer(how):
        fetch(meter.dashboard_port, "POST", "/settings", {"changes": {"udp_reply": how}}, JSON)
    # A meter that says nothing, because it may not, is not broken.
    await tested("marstek")
    await entities.until({"mqtt-test_as_marstek": "off"})
    await asyncio.to_thread(answer, "short")
    await entities.serve("number", "set_value", now["reader-127-0-0-2-udp-share"], value=40)
    await entities.serve("switch", "turn_off", now["mqtt-pause"])
    await asyncio.to_thread(meter.until_total, 25, 5)
    share = json.loads(meter.udp(bare, source="127.0.0.2"))
    assert near(share["result"]["total_act_power"], 10)

    await tested("marstek")
    failed = (await entities.until({"mqtt-test_as_marstek": "on"}))["mqtt-test_as_marstek"]["attributes"]["failed"]
    assert "shorter than 250" in failed[0], failed
    await asyncio.to_thread(answer, None)
    await tested("marstek")
    await tested("modbus")
    known = await entities.until({"mqtt-test_as_marstek": "off", "mqtt-test_as_modbus": "off"})
    assert known["mqtt-test_as_modbus"]["attributes"]["steps"] >= 8 and not known["mqtt-test_as_modbus"]["attributes"]["failed"]

    # Which product a reader is, whatever that does with power.
    profile = now["reader-127-0-0-2-udp-profile"]
    assert profile["state"] == "Automatic" and "Marstek B2500" in profile["attributes"]["options"]
    for name, profiles in (("evcc", {"127.0.0.2": "evcc"}), ("Marstek B2500", {"127.0.0.2": "marstek-b2500"})):
        await entities.serve("select", "select_option", profile, option=name)
        await entities.until({"reader-127-0-0-2-udp-profile": name})
        assert fetch(meter.dashboard_port, "GET", "/control").json()["profiles"] == profiles

    # The broker restarts, and everything comes back by itself.
    await asyncio.to_thread(broker.stop)
    broker.start()
    await entities.until({"mqtt-target_offset": 50, "mqtt-a_act_power": 50, "reader-127-0-0-2-udp-share": 40}, 20)

    # A restart keeps offset and share and ends a pause; what is not there any more leaves.
    before = len(listener.announced())
    fetch(meter.dashboard_port, "POST", "/control", {"pause": True}, JSON)
    meter.options = options
    await asyncio.to_thread(meter.restart)
    await asyncio.to_thread(until, lambda: len(listener.announced()) == before - 1, 10, "the garage has left")
    await entities.until({"mqtt-target_offset": 50, "mqtt-pause": "off", "mqtt-pause_kind": "Nothing", "mqtt-test_as_marstek": "off",
                          "reader-127-0-0-2-udp-share": 40, "reader-127-0-0-2-udp-profile": "Marstek B2500"})
    meter.options = {**options, "mqtt_enable": False}
    await asyncio.to_thread(meter.restart)

    await asyncio.to_thread(until, lambda: not listener.announced(), 10, "nothing is announced any more")

    async def none():
        left = await entities.all()
        assert not left and not entities.others, (sorted(left), entities.others)
        return True
    await aio_until(none, 10, "all entities have left")

    def values():  # what Home Assistant asked for was not kept by the broker
        return [topic for topic, text in listener.said.items() if text and topic.startswith("virtual-shelly/") and not topic.endswith("/set")]
    until(lambda: not values(), 5, "no value stays at the broker")


def test_what_was_said_under_another_mac_leaves(broker, listener, new_meter):
    options = {**broker.options, "mac": "02AABBCCDD01", "demo_battery": False}
    meter = new_meter(options, args=["--source", "demo"]).start()
    until(lambda: listener.announced(), 10)

    def left(mac):
        return [topic for topic, text in listener.said.items() if text and mac in topic]
    # A copy of the folder that was given another MAC takes nothing away from the meter that runs.
    copy = new_meter({**options, "mac": "02AABBCCDD03"}, args=["--source", "demo"])
    shutil.copytree(meter.data, copy.data, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.sock", "*lock*"))
    copy.start()
    until(lambda: len(listener.announced()) == 2, 10, "both are announced")
    assert left("02aabbccdd03") and left("02aabbccdd01")
    meter.options = {**options, "mac": "02AABBCCDD02"}
    meter.restart()
    until(lambda: len(listener.announced()) == 2 and left("02aabbccdd02") and not left("02aabbccdd01"), 15, "the old one has left")


def test_a_wrong_password_is_said_and_shown_to_nobody(broker, new_meter):
    meter = new_meter({**broker.options, "mqtt_password": "wrong-secret"}, args=["--source", "demo"]).start()
    line = until(lambda: next((x for x in meter.get("/healthz").json()["listeners"] if x["name"] == "mqtt_home"), None), 10)
    assert line["state"] == "waiting" and "user or the password" in line["reason"], line
    assert "wrong-secret" not in meter.log() + meter.get("/healthz").text


@pytest.fixture
def app(binary, tmp_path, fake_ha, broker):
    """As an app, beside an app with a broker."""
    fake_ha.set("sensor.grid", "512")
    supervisor = FakeSupervisor(fake_ha, options={"meters": [], "total_power": "sensor.grid"}).start()
    supervisor.mqtt = {"host": LOCAL, "port": broker.port, "ssl": False, "username": "meter", "password": PASSWORDS["meter"],
                       "protocol": "3.1.1", "addon": "core_mosquitto"}
    with installed(binary, tmp_path, supervisor) as one:
        yield one
    supervisor.stop()


@pytest.mark.skipif(bool(IMAGE), reason="its broker is beside it on loopback")
def test_an_app_takes_the_supervisors_broker_and_links_to_its_page(app, listener):
    app.start()
    (topic,) = until(listener.announced, 10)
    assert json.loads(listener.said[topic])["device"]["configuration_url"] == "homeassistant://app/local_virtual_shelly"
    power = topic.replace("homeassistant/device/virtual-shelly-", "virtual-shelly/").rpartition("/")[0].rpartition("/")[0] + "/total_act_power"
    until(lambda: near(number(listener.said[power]), 512), 5)
    asked = [call for call in app.supervisor.calls if call == "GET /services/mqtt"]
    assert len(asked) == 1, "asked at start, not in a loop"


def test_the_devices_own_mqtt(broker, listener, new_meter):
    """As ioBroker's adapter uses a device: status topics, calls with an answer at `<src>/rpc`, commands."""
    meter = new_meter({"outbound_ws_local": True, "mqtt_enable": False, "demo_battery": False}, args=["--source", "demo"]).start()
    until(lambda: meter.get("/healthz").status == 200, 10)
    config = {"enable": True, "server": f"{LOCAL}:{broker.port}", "user": "meter", "pass": PASSWORDS["meter"], "status_ntf": True}
    assert meter.rpc("Mqtt.SetConfig", {"config": config}) == {"restart_required": True}
    until(lambda: meter.rpc("Mqtt.GetStatus")["connected"], 5)
    assert "pass" not in meter.rpc("Mqtt.GetConfig") and PASSWORDS["meter"] not in meter.log()
    prefix = meter.info()["id"]
    said = listener.said
    until(lambda: said[f"{prefix}/online"] == "true" and f"{prefix}/status/emdata:0" in said, 5)
    until(lambda: json.loads(said[f"{prefix}/events/rpc"])["method"] == "NotifyStatus", 5)
    until(lambda: near(json.loads(said[f"{prefix}/status/em:0"])["total_act_power"], meter.total()), 5)
    for change, told in (({"pause": True, "pause_kind": "zero"}, True), ({"pause": False}, False)):
        fetch(meter.dashboard_port, "POST", "/control", change, JSON)
        until(lambda told=told: (json.loads(said[f"{prefix}/status/em:0"])["total_act_power"] == 0) == told, 5, "a pause reaches it too")

    def call(number, **frame):
        listener.client.publish(f"{prefix}/rpc", json.dumps({"id": number, "src": "me", **frame}), qos=number % 3)
        return until(lambda: (answer := json.loads(said["me/rpc"]))["id"] == number and answer, 5)
    assert call(1, method="Shelly.GetStatus")["result"]["mqtt"] == {"connected": True}
    assert call(2, method="EM.GetStatus", params={"id": 0})["result"]["id"] == 0
    assert call(3, method="Nope.Nope")["error"]["code"] == 404
    assert call(4, method="Sys.SetConfig", params={"config": {"device": {"name": "cellar"}}})["result"] == {"restart_required": False}
    assert meter.info()["name"] == "cellar"
    # No answer can be published there: a broker would close the connection.
    for src in ("me\0", "me/\u0085", "me/+", "me/#", "$SYS"):
        listener.client.publish(f"{prefix}/rpc", json.dumps({"id": 5, "src": src, "method": "Shelly.GetDeviceInfo"}), qos=1)
    assert call(6, method="Shelly.GetDeviceInfo")["result"]["id"] == prefix
    assert "MQTT: the connection ended" not in meter.log()
    said.pop(f"{prefix}/status/sys")
    listener.client.publish(f"{prefix}/command", "status_update")
    until(lambda: f"{prefix}/status/sys" in said, 5)
    listener.client.publish("shellies/command", "announce")
    until(lambda: json.loads(said["shellies/announce"])["id"] == prefix, 5)

    broker.stop()
    until(lambda: not meter.rpc("Mqtt.GetStatus")["connected"], 5)
    broker.start()
    until(lambda: meter.rpc("Mqtt.GetStatus")["connected"], 10)
    meter.rpc("Mqtt.SetConfig", {"config": {"enable": False}})
    until(lambda: said[f"{prefix}/online"] == "false", 5)
    with contextlib.suppress(KeyError):
        assert meter.get("/healthz").json()["listeners"] and not [x for x in meter.get("/healthz").json()["listeners"] if x["name"] == "mqtt"]
