"""Every channel says the same numbers in the same snapshot."""
import json
import random
import re
import struct

from pymodbus.client import ModbusTcpClient

from harness import LOCAL, near, udp, until

OFFICIAL = {"total_act_power": 1013, "a_act_power": 1024, "b_act_power": 1044, "c_act_power": 1064, "a_current": 1022,
            "b_current": 1042, "c_current": 1062, "total_aprt_power": 1015}
LEGACY = {"a_act_power": 3020, "b_act_power": 3022, "c_act_power": 3024, "total_act_power": 3026, "a_current": 3010}


def single(value):
    """A number as 32 bits carry it."""
    return struct.unpack("f", struct.pack("f", value))[0]


async def test_all_channels_agree(fake_ha, new_meter):
    for name in ("l1", "l2", "l3"):
        fake_ha.set(f"sensor.{name}", "0")
    meter = new_meter({"a_power": "sensor.l1", "b_power": "sensor.l2", "c_power": "sensor.l3"}, ha=fake_ha).start()
    meter.until_total(0, 5)
    dice, modbus = random.Random(3), ModbusTcpClient(LOCAL, port=meter.modbus_port)
    assert modbus.connect()
    async with meter.ws() as ws, meter.ws(meter.ws_port, "/") as fan:
        for _ in range(25):
            powers = [round(dice.uniform(-1, 1) * 10 ** dice.uniform(0, 5), 4) for _ in "abc"]
            for name, watts in zip(("l1", "l2", "l3"), powers):
                fake_ha.set(f"sensor.{name}", watts)
            want = round(sum(powers), 1)
            until(lambda want=want, c=powers[2]: near(meter.total(), want, 0.11) and near(meter.em()["c_act_power"], c, 0.11), 2)
            em = meter.em()
            assert abs(em["total_act_power"] - sum(em[f"{p}_act_power"] for p in "abc")) < 0.0005, em
            assert all(near(em[f"{p}_act_power"], w, 0.11) for p, w in zip("abc", powers))
            assert (await ws.call("EM.GetStatus", {"id": 0}))["result"] == em
            assert (await fan.call("EM.GetStatus", {"id": 0}))["result"] == em
            assert meter.rpc("Shelly.GetStatus")["em:0"] == em
            for port in meter.udp_ports:
                assert json.loads(udp(port, {"id": 1, "method": "EM.GetStatus", "params": {"id": 0}}))["result"] == em
            for key, address in OFFICIAL.items():
                words = modbus.read_input_registers(address, count=2, device_id=1).registers
                assert struct.unpack(">f", struct.pack(">HH", words[1], words[0]))[0] == single(em[key]), key
            for key, address in LEGACY.items():
                words = modbus.read_holding_registers(address, count=2, device_id=1).registers
                assert struct.unpack(">f", struct.pack(">HH", *words))[0] == single(em[key]), key
            served = {float(v) for v in re.findall(r"^virtual_shelly_\w*power\w*(?:\{[^}]*\})? (\S+)$", meter.get("/metrics").text, re.M)}
            assert {em[f"{p}_act_power"] for p in "abc"} <= served, served
    modbus.close()


def test_metrics_is_valid(demo):
    demo.em()
    answer = demo.get("/metrics")
    assert answer.status == 200
    for line in answer.text.splitlines():
        assert re.fullmatch(r'# (HELP|TYPE|UNIT|EOF).*|[a-z_]+(\{(\w+="[^"]*",?)*\})? \S+( \S+)?', line), line
    for name in ("http_rpc_requests_total", "http_rpc_errors_total", "ws_rpc_messages_total", "ws_notify_total", "ws_clients",
                 "udp_packets_total", "udp_replies_total"):
        assert f"virtual_shelly_{name}" in answer.text, name


def test_absent_phases_leave_the_metrics(grid):
    ha, meter = grid
    meter.stop()
    meter.options["hold"] = 0
    meter.start()
    meter.until_total(512, 5)
    assert re.search(r"power\S* 512", meter.get("/metrics").text)
    ha.set("sensor.grid", "unavailable")
    until(lambda: not re.search(r"power\S* 512", meter.get("/metrics").text), 3)
    assert not re.search(r'power\w*\{[^}]*phase="a"', meter.get("/metrics").text), "left out, not zero"
