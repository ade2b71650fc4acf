"""What an owner goes through with the meter, each as a reader of the meter would live through it."""
import asyncio
import json
import random
import re
import socket
import time

import pytest

from fake_ha import FakeHA
from harness import LOCAL, aio_until, fetch, free_port, near, udp, until

PHASES = {"a_power": "sensor.l1", "b_power": "sensor.l2", "c_power": "sensor.l3"}


def frame(method, number=5, **params):
    return {"id": number, "src": "me", "method": method, "params": {"id": 0, **params}}


def add_up(em):
    return abs(em["total_act_power"] - sum(em[f"{p}_act_power"] for p in "abc")) <= 0.01


def s1_everywhere(meter, watts):
    em = meter.get("/rpc/EM.GetStatus?id=0").json()
    assert em["id"] == 0 and near(em["a_act_power"], watts) and em["b_act_power"] == em["c_act_power"] == 0.0
    assert near(em["total_act_power"], watts) and add_up(em)
    keys = {f"{p}_{k}" for p in "abc" for k in ("voltage", "current", "pf", "freq", "aprt_power")}
    assert keys | {"n_current"} <= set(em)
    answer = meter.post("/rpc", frame("EM.GetStatus")).json()
    assert answer["id"] == 5 and answer["src"] == meter.info()["id"] and answer["dst"] == "me" and answer["result"] == em
    for port in meter.udp_ports:
        text = udp(port, frame("EM.GetStatus"))
        assert len(text) >= 250 and json.loads(text)["id"] == 5 and json.loads(text)["result"] == em
        assert all(re.fullmatch(r"-?\d+\.\d+", p) for p in re.findall(r'"\w*power\w*":([^,}]+)', text))
    assert near(json.loads(meter.udp(frame("EM1.GetStatus")))["result"]["act_power"], watts)
    return True


def test_first_value(grid):
    ha, meter = grid
    assert s1_everywhere(meter, 512)
    for value in ("-300.5", "0", "1e3", " 42 "):
        ha.set("sensor.grid", value)
        meter.until_total(float(value), 1)
        assert s1_everywhere(meter, float(value))
    ha.set("sensor.grid", "0")
    meter.until_total(0, 1)
    text = meter.get("/rpc/EM.GetStatus?id=0").text
    assert '"a_act_power":0.0,' in text and "-0" not in text


@pytest.mark.parametrize("options, states, expected", [
    ({"total_power": "sensor.x"}, {"x": ("1.25", "kW")}, (1250, 0, 0)),
    ({"total_power": "sensor.i", "total_power_export": "sensor.e"}, {"i": ("0.0", "kW"), "e": ("0.4", "kW")}, (-400, 0, 0)),
    ({"total_power": "sensor.x,sensor.y,sensor.z"}, {"x": (100, "W"), "y": (200, "W"), "z": (-50, "W")}, (250, 0, 0)),
    ({"total_power": "sensor.x", "total_invert": True}, {"x": (300, "W")}, (-300, 0, 0)),
    ({"total_power": "sensor.x", "total_scale": 0.5, "total_offset": 10}, {"x": (300, "W")}, (160, 0, 0)),
    ({"total_power": "sensor.x", "total_phase": "split"}, {"x": (100, "W")}, (33.4, 33.3, 33.3)),
    ({"total_power": "sensor.x", "total_phase": "c"}, {"x": (100, "mW")}, (0, 0, 0.1)),
    ({"total_power": "sensor.x", "target_offset": 20}, {"x": (100, "W")}, (80, 0, 0)),
    ({"a_power": "sensor.x", "b_power": "sensor.y", "b_invert": True}, {"x": (0.002, "MW"), "y": (7, "W")}, (2000, -7, 0))])
def test_units_pairs_sums_signs(fake_ha, new_meter, options, states, expected):
    for name, (value, unit) in states.items():
        fake_ha.set(f"sensor.{name}", value, unit)
    meter = new_meter(options, ha=fake_ha).start()
    em = meter.until_total(sum(expected), 5)
    assert [em[f"{p}_act_power"] for p in "abc"] == [pytest.approx(e, abs=0.001) for e in expected] and add_up(em)


def test_unit_changes_at_run_time(grid):
    ha, meter = grid
    ha.set("sensor.grid", "2")
    meter.until_total(2, 1)
    ha.set("sensor.grid", "2", "kW")
    meter.until_total(2000, 1)


@pytest.mark.parametrize("text", ["nan", "inf", "", "1,5", "12 W", "1e9", "unknown"])
def test_what_is_no_number_is_unavailable(grid, text):
    ha, meter = grid
    meter.stop()
    meter.options["hold"] = 0
    meter.start()
    meter.until_total(512, 5)
    ha.set("sensor.grid", text)
    until(lambda: meter.em()["total_act_power"] is None, 3)
    ha.set("sensor.grid", "12")
    meter.until_total(12, 1)


async def test_sensor_unavailable(fake_ha, new_meter):
    for name, watts in (("l1", "230.4"), ("l2", "-120.0"), ("l3", "45.0")):
        fake_ha.set(f"sensor.{name}", watts)
    meter = new_meter({**PHASES, "hold": 5, "stale": "error", "ws_notify_interval": 0.0}, ha=fake_ha).start()
    meter.until_total(155.4, 5)
    answers = []
    async with meter.ws() as ws:
        await ws.call("Sys.GetStatus")
        fake_ha.set("sensor.l2", "unavailable")
        gone = time.monotonic()
        while time.monotonic() - gone < 4.5:
            answer = meter.get("/rpc/EM.GetStatus?id=0")
            answers.append(answer.text)
            assert answer.status == 200 and answer.json()["b_act_power"] == -120.0
            await asyncio.sleep(0.1)
        until(lambda: meter.get("/rpc/EM.GetStatus?id=0").status == 500, 2)
        assert meter.get("/rpc/EM.GetStatus?id=0").json()["code"] == -114
        assert meter.post("/rpc", frame("EM.GetStatus")).json()["error"]["code"] == -114
        assert meter.udp(frame("EM.GetStatus"), timeout=0.7) is None
        health = meter.get("/healthz")
        assert health.status == 503 and "sensor.l2" in health.text
        assert meter.log().count("sensor.l2") >= 1
        answers.append(meter.get("/rpc/EM.GetStatus?id=0").text)
        fake_ha.set("sensor.l2", "-90")
        until(lambda: near(meter.em()["b_act_power"], -90), 1)
        await ws.note(where=lambda f: near(f["params"].get("em:0", {}).get("b_act_power"), -90))
        answers += ws.texts
    assert not [a for a in answers if re.search(r'"b_act_power":-?0(\.0+)?[,}]', a)], "a 0 is never invented"


def test_constant_is_not_stale(fake_ha, new_meter):
    fake_ha.set("sensor.grid", "77")
    meter = new_meter({"total_power": "sensor.grid", "hold": 1}, ha=fake_ha).start()
    meter.until_total(77, 5)
    until_then = time.monotonic() + 30  # longer than hold, ping and pong time together
    while time.monotonic() < until_then:
        assert near(meter.total(), 77)
        time.sleep(0.5)
    assert meter.get("/healthz").status == 200


def test_dead_link_is_noticed(grid):
    ha, meter = grid
    meter.stop()
    meter.options["hold"] = 1
    meter.start()
    meter.until_total(512, 5)
    ha.mute()
    until(lambda: meter.em()["total_act_power"] is None, 28, "a dead link is noticed within 25 s, then held 1 s")
    ha.mute(False)
    ha.set("sensor.grid", "5")
    meter.until_total(5, 10)


def test_home_assistant_restarts(grid):
    ha, meter = grid
    meter.stop()
    meter.options["hold"] = 5
    meter.start()
    meter.until_total(512, 5)
    pid, before, connections = meter.process.pid, meter.emdata(), ha.connections
    ha.drop()
    gone, seen = time.monotonic(), set()
    while time.monotonic() - gone < 20:
        seen.add(meter.total())
        time.sleep(0.1)
    assert seen == {512.0, None}
    ha.set("sensor.grid", "unknown")
    ha.accept()
    time.sleep(5)  # only time tells that no value is made of it
    assert meter.total() is None
    until(lambda: ha.connections > connections and ha.subscriptions, 10)
    ha.set("sensor.grid", "-42")
    meter.until_total(-42, 2)
    after = meter.emdata()
    assert meter.process.pid == pid and all(after[k] >= before[k] for k in before)


def test_started_before_home_assistant_and_its_entity(new_meter):
    ha = FakeHA().start()
    try:
        ha.drop()
        meter = new_meter({"total_power": "sensor.grid"}, ha=ha).start()
        assert meter.total() is None
        ha.accept()
        until(lambda: ha.connections, 10)
        time.sleep(1)  # only time tells that no value is made up
        assert meter.total() is None
        ha.set("sensor.grid", "61")
        meter.until_total(61, 1)
    finally:
        ha.close()


def test_values_count_only_when_it_runs(new_meter, fake_ha):
    """A starting Home Assistant serves restored values: they count once they changed, or when it is RUNNING."""
    fake_ha.core_state = "NOT_RUNNING"
    fake_ha.set("sensor.grid", "321")
    meter = new_meter({"total_power": "sensor.grid"}, ha=fake_ha).start()
    until(lambda: fake_ha.subscriptions, 10)
    time.sleep(1)  # only time tells that it does not count
    assert meter.total() is None
    fake_ha.set("sensor.grid", "7")
    meter.until_total(7, 1)


def test_port_taken(new_meter):
    meter = new_meter(args=["--source", "demo"])
    with socket.socket() as taken:
        taken.bind((LOCAL, meter.http_port))
        taken.listen()
        meter.start(meter.dashboard_port)
        assert fetch(meter.dashboard_port, "GET", "/healthz").status in (200, 503)
        until(lambda: meter.udp(frame("EM.GetStatus")), 3)
        with socket.create_connection((LOCAL, meter.modbus_port), timeout=3):
            pass
        until(lambda: str(meter.http_port) in meter.log(), 3)
        time.sleep(6)  # one retry later
        told = [line for line in meter.log().splitlines() if str(meter.http_port) in line and re.search("WARN|ERROR", line)]
        assert len(told) == 1, told
        listeners = json.dumps(fetch(meter.dashboard_port, "GET", "/healthz").json())
        assert str(meter.http_port) in listeners
    until(lambda: meter.get("/livez").status == 200, 30, "serving once the port is free")


def test_udp_port_taken(new_meter):
    meter = new_meter(args=["--source", "demo"])
    with socket.socket(type=socket.SOCK_DGRAM) as taken:
        taken.bind((LOCAL, meter.udp_ports[0]))
        meter.start()
        until(lambda: udp(meter.udp_ports[1], frame("EM.GetStatus")), 3)
        assert meter.em()["total_act_power"] is not None
    until(lambda: udp(meter.udp_ports[0], frame("EM.GetStatus"), timeout=0.5), 30)


def test_identity(new_meter):
    meter = new_meter(args=["--source", "demo"]).start()
    info = meter.info()
    assert re.fullmatch("[0-9A-F]{12}", info["mac"]) and info["id"] == f"shellypro3em-{info['mac'].lower()}"
    assert (info["model"], info["app"], info["gen"], info["auth_en"]) == ("SPEM-003CEBEU", "Pro3EM", 2, False)
    assert meter.restart().info() == info, "the same device after a restart"
    other = new_meter(args=["--source", "demo"]).start()
    assert other.info()["mac"] != info["mac"]


def test_take_over(new_meter):
    meter = new_meter({"mac": "08:f9:e0:12:34:56", "device_name": "Zähler"}, args=["--source", "demo"]).start()
    info = meter.info()
    assert info["mac"] == "08F9E0123456" and info["id"] == "shellypro3em-08f9e0123456" and info["name"] == "Zähler"


def test_second_meter_in_one_process(fake_ha, new_meter):
    fake_ha.set("sensor.grid", "512")
    fake_ha.set("sensor.pv", "-20")
    port, datagrams = free_port(), free_port()
    second = {"name": "pv", "total_power": "sensor.pv", "http_port": port, "udp_ports": str(datagrams)}
    meter = new_meter({"total_power": "sensor.grid", "meters": [second]}, ha=fake_ha).start()
    meter.until_total(512, 5)
    until(lambda: near(fetch(port, "GET", "/rpc/EM.GetStatus?id=0").json()["total_act_power"], -20), 5)
    assert near(json.loads(udp(datagrams, frame("EM.GetStatus")))["result"]["total_act_power"], -20)
    assert fetch(port, "GET", "/shelly").json()["mac"] != meter.info()["mac"]


def test_energy(fake_ha, new_meter):
    """36 kW for 10 s on L1 and -18 kW for 2 s on L2: 100 Wh and 10 Wh; a gap counts up to the hold time only."""
    for name in ("l1", "l2", "l3"):
        fake_ha.set(f"sensor.{name}", "0")
    meter = new_meter({**PHASES, "hold": 2}, ha=fake_ha).start()
    meter.until_total(0, 5)
    start = meter.emdata()

    def switch(name, watts):
        fake_ha.set(f"sensor.{name}", str(watts))
        return time.monotonic()
    on = switch("l1", 36000)
    time.sleep(2)
    b_on = switch("l2", -18000)
    time.sleep(2)
    b_off = switch("l2", 0)
    time.sleep(max(0, on + 10 - time.monotonic()))
    off = switch("l1", 0)
    time.sleep(1.2)  # the next tick
    now = meter.emdata()
    grown = {k: now[k] - start[k] for k in now if k != "id"}
    assert near(grown["a_total_act_energy"], 10 * (off - on), 1.5) and near(grown["b_total_act_ret_energy"], 5 * (b_off - b_on), 0.5)
    assert near(grown["total_act"], grown["a_total_act_energy"], 0.02)
    assert near(grown["total_act_ret"], grown["b_total_act_ret_energy"], 0.02)
    assert grown["b_total_act_energy"] == grown["a_total_act_ret_energy"] == 0
    # no integration over a gap beyond the hold time
    switch("l1", 36000)
    gap = switch("l1", "unavailable")
    time.sleep(6)  # longer than it is held
    end = switch("l1", 0)
    time.sleep(1.2)
    held = meter.emdata()["a_total_act_energy"] - now["a_total_act_energy"]
    assert 15 <= held <= 32 < 10 * (end - gap), held
    last = meter.emdata()
    meter.restart()
    until(lambda: meter.emdata()["total_act"] is not None, 5)
    again = meter.emdata()
    assert all(again[k] >= last[k] for k in last if k != "id")


@pytest.mark.parametrize("source", ["demo", "replay"])
def test_a_faster_household_counts_its_own_time(new_meter, tmp_path, source):
    """3.6 kW at 1,000 times the speed: 1 kWh a second, in the counters and in the records of real minutes alike."""
    file = tmp_path / "fast.csv"
    file.write_text("ts,a,b,c\n" + "".join(f"{1_700_000_000 + n},3600,-3600,0\n" for n in range(0, 300_000, 10)))
    args = ["--source", source, f"--{source}-speed", "1000", "--replay-file", str(file)]
    meter = new_meter({"store_interval": 10}, args=args).start()

    def turned(data):
        return data["total_act"] + data["total_act_ret"]
    # in real time the demo's 20 kW at the most would need 90 s for this
    until(lambda: turned(meter.emdata()) > 500, 20, "half a kWh")
    served = turned(meter.emdata())
    meter.restart()

    def recorded():
        data = meter.rpc("EMData.GetData", {"id": 0, "ts": 0})
        rows = [dict(zip(data["keys"], row)) for block in data["data"] for row in block["values"]]
        return sum(row[f"{p}_total_act_{way}energy"] for row in rows for p in "abc" for way in ("", "ret_"))
    # The minute that the stop cut goes on, and is recorded when it is over.
    until(lambda: recorded() >= served, 75, "what the counters got is in the records")


def test_killed_loses_no_more_than_the_store_interval(fake_ha, new_meter):
    fake_ha.set("sensor.grid", "360000")
    meter = new_meter({"total_power": "sensor.grid", "store_interval": 10}, ha=fake_ha).start()
    meter.until_total(360000, 5)
    time.sleep(13)  # longer than store_interval
    meter.kill()
    meter.start()
    meter.until_total(360000, 5)
    assert meter.emdata()["total_act"] >= 300, "100 Wh a second, at most 10 s lost"


def test_a_folder_that_comes_late(replay):
    """Started without its data folder: it meters in memory under a makeshift identity until the folder is there."""
    meter = replay(36000.0, -3600.0, 0.0)
    mac = meter.info()["mac"]
    until(lambda: meter.emdata()["total_act"] > 20, 10)
    meter.stop()
    first = json.loads((meter.data / "meter.json").read_text().splitlines()[-1])["meters"][0]["energy"]
    hidden = meter.data.rename(meter.folder / "hidden")
    meter.data.symlink_to("/proc")  # nobody can write there, not even root

    meter.start()
    assert meter.info()["mac"] != mac
    until(lambda: meter.emdata()["total_act"] > 20, 10)
    health = meter.get("/healthz").json()
    assert health["status"] == "degraded" and "nothing is kept over a restart" in str(health["problems"]), health
    meter.data.unlink()
    hidden.rename(meter.data)
    until(lambda: "nothing is kept over a restart" not in str(meter.get("/healthz").json()["problems"]), 75, "the folder is used")
    problems = meter.get("/healthz").json()["problems"]
    assert len(problems) == 1 and "whether a password was set" in str(problems), "until a restart, changes stay refused"
    served = meter.emdata()["total_act"]
    assert meter.info()["mac"] != mac, "what is read goes on as it began"

    meter.restart()
    assert meter.info()["mac"] == mac
    assert meter.emdata()["total_act"] >= first[0] + served - 0.02
    assert meter.get("/healthz").json()["status"] == "ok"


def test_seeding(fake_ha, new_meter):
    fake_ha.set("sensor.grid", "3600")
    fake_ha.set("sensor.import", "12345.678", "kWh", "energy", state_class="total_increasing")
    fake_ha.set("sensor.export", "1.5", "MWh", "energy", state_class="total_increasing")
    options = {"total_power": "sensor.grid", "energy_import": "sensor.import", "energy_export": "sensor.export"}
    meter = new_meter(options, ha=fake_ha).start()
    first = until(lambda: meter.emdata()["total_act"] and meter.emdata(), 70)
    assert near(first["total_act"], 12345678, 40) and near(first["total_act_ret"], 1500000, 1)
    until(lambda: meter.emdata()["total_act"] > first["total_act"], 5, "it grows from there")
    fake_ha.set("sensor.import", "20000", "kWh", "energy", state_class="total_increasing")
    time.sleep(2)  # only time tells that it is not taken again
    assert meter.emdata()["total_act"] < 12350000, "once only"


async def test_two_batteries_and_a_browser(grid):
    ha, meter = grid
    meter.stop()
    meter.options |= {"scaling_shares": ["127.0.0.2=0.7", "127.0.0.3=0.3"], "request_side_scaling_enable": True,
                      "control": "off"}  # nobody here acts on what he is told, so control would wait for it
    meter.start()
    ha.set("sensor.grid", "1000")
    meter.until_total(1000, 5)

    def asks(address):
        return meter.em(source=address)
    assert near(asks("127.0.0.2")["total_act_power"], 700) and near(asks("127.0.0.3")["total_act_power"], 300)
    assert near(asks("127.0.0.9")["total_act_power"], 1000)
    assert near(asks("127.0.0.2")["a_current"], 0.7 * 1000 / 230, 0.002) and near(asks("127.0.0.2")["a_aprt_power"], 700)
    assert near(json.loads(meter.udp(frame("EM.GetStatus"), source="127.0.0.3"))["result"]["total_act_power"], 300)
    assert meter.rpc("EMData.GetStatus", {"id": 0}, source="127.0.0.2").keys() == meter.emdata().keys()
    end = time.monotonic() + 20
    async with meter.ws(source="127.0.0.2") as ws:
        tick = 0
        while time.monotonic() < end:
            assert near((await ws.call("EM.GetStatus", {"id": 0}))["result"]["total_act_power"], 700)
            if tick % 2 == 0:
                assert await asyncio.to_thread(meter.udp, frame("EM.GetStatus"), source="127.0.0.3")
            tick += 1
            await asyncio.sleep(0.5)
    readers = {(c["ip"], c["channel"]): c for c in meter.admin()["consumers"]}
    two, three = readers["127.0.0.2", "websocket"], readers["127.0.0.3", "udp"]
    assert 0.4 <= two["cadence"] <= 0.6 and 0.8 <= three["cadence"] <= 1.2
    assert near(two["last_value"], 700) and near(three["last_value"], 300)
    assert two["age"] < 5 and three["age"] < 5 and (two["share"], three["share"]) == (0.7, 0.3)
    assert {m["method"]: m["calls"] >= 35 for m in two["methods"]} == {"EM.GetStatus": True}
    assert readers["127.0.0.9", "http"]["share"] == 1.0
    stopped = time.time()
    silent = await aio_until(lambda: next(c for c in meter.admin()["consumers"] if c["ip"] == "127.0.0.3" and c["channel"] == "udp")
                             ["silent_since"], 20)
    assert near(silent, stopped, 5)


async def test_counted(new_meter, fake_ha):
    """With counting, the power is divided by the addresses seen; loopback itself and viewers are not counted."""
    fake_ha.set("sensor.grid", "1000")
    meter = new_meter({"total_power": "sensor.grid", "request_side_scaling_enable": True, "request_ip_ttl": 3.0,
                       "scaling_viewers": ["127.0.0.8"]}, ha=fake_ha).start()
    meter.until_total(1000, 5)
    assert near(meter.em(source="127.0.0.8")["total_act_power"], 1000)
    meter.em(source="127.0.0.2")
    meter.em(source="127.0.0.3")
    assert near(meter.em(source="127.0.0.2")["total_act_power"], 500)
    await aio_until(lambda: near(meter.em(source="127.0.0.2")["total_act_power"], 1000), 6, "after the TTL")


def test_stops_at_once(demo):
    """SIGTERM: all is saved and the process gone within 2 s, readers or not; also right after the start."""
    with socket.create_connection((LOCAL, demo.http_port)), socket.create_connection((LOCAL, demo.modbus_port)):
        began = time.monotonic()
        demo.stop()
        assert time.monotonic() - began < 2
    demo.start().stop()


def test_random_life_never_invents(fake_ha, new_meter):
    """Whatever the sensor does, every total served is one of its values, or none."""
    dice = random.Random(7)
    fake_ha.set("sensor.grid", "100")
    meter = new_meter({"total_power": "sensor.grid", "hold": 0}, ha=fake_ha).start()
    meter.until_total(100, 5)
    allowed = {100.0, None}
    for _ in range(60):
        value = dice.choice(["unavailable", "unknown", "nan", "", *(f"{dice.uniform(-9000, 9000):.1f}" for _ in range(6))])
        if re.fullmatch(r"-?[0-9.]+", value):
            allowed.add(float(value))
        fake_ha.set("sensor.grid", value)
        if dice.random() < 0.1:
            fake_ha.drop()
            fake_ha.accept()
        assert meter.total() in allowed
