"""Marstek batteries: UDP requests as captured, from any source port, answered with decimals and in full, or not at all."""
import json
import re
import socket

import pytest

from harness import LOCAL, golden, near, shape, udp, until

REQUEST = golden("udp_marstek_em")["request"]["datagram_text"]


def powers(text):
    return re.findall(r'"\w*power\w*":(-?[0-9.]+)', text)


def test_request_of_the_battery(replay):
    meter = replay(120.5, -30.2, 0.0)
    for port in meter.udp_ports:
        text = udp(port, REQUEST.encode())
        assert len(text) >= 250 and list(json.loads(text)) == ["id", "src", "dst", "result"]
        answer = json.loads(text)
        assert answer["id"] == 1 and answer["dst"] == "unknown" and answer["src"] == meter.info()["id"]
        assert re.fullmatch("shellypro3em-[0-9a-f]{12}", answer["src"])
        assert [answer["result"][f"{p}_act_power"] for p in "abc"] == [120.5, -30.2, 0.0]
        assert near(answer["result"]["total_act_power"], 90.3) and "-0.0" not in text and " " not in text
        assert len(powers(text)) == 8 and all(re.fullmatch(r"-?\d+\.\d+", p) for p in powers(text))
        assert dict(shape(text))["result"] == shape(golden("http_get_em_getstatus")["response"]["body_text"])


def test_one_channel_meter_is_the_house_total(replay):
    meter = replay(120.5, -30.2, 100.0)
    answer = json.loads(meter.udp({"id": 7, "method": "EM1.GetStatus", "params": {"id": 0}}))
    assert answer["id"] == 7 and near(answer["result"]["act_power"], 190.3)
    assert json.loads(meter.udp({"id": 7, "method": "EM1.GetStatus", "params": {"id": 1}}))["error"]["code"] == -105
    assert meter.post("/rpc/EM1.GetStatus", {"id": 0}).status == 404


def test_ids_and_sources(demo):
    assert json.loads(demo.udp({"id": "abc", "src": "battery", "method": "EM.GetStatus", "params": {"id": 0}}))["dst"] == "battery"
    for number in (0, 4294967295):
        assert json.loads(demo.udp({"id": number, "method": "EM.GetStatus", "params": {"id": 0}}))["id"] == number
    with socket.socket(type=socket.SOCK_DGRAM) as s:  # the battery's fixed source port, asked again and again
        s.bind((LOCAL, 0))
        s.settimeout(2)
        for n in range(20):
            s.sendto(REQUEST.encode(), (LOCAL, demo.udp_ports[1]))
            assert json.loads(s.recv(65535))["id"] == 1
        with pytest.raises(TimeoutError):
            s.settimeout(0.3)
            s.recv(65535)


def test_other_methods(demo):
    assert json.loads(demo.udp({"id": 1, "method": "Shelly.GetDeviceInfo"}))["result"] == demo.info()
    assert json.loads(demo.udp({"id": 1, "method": "No.Such"}))["error"]["code"] == 404


@pytest.mark.parametrize("datagram", [
    b"", b"{", b"\xff\xfe\x00", b"[]", b"17", b'{"method":"EM.GetStatus","params":{"id":0}}', b'{"id":1}',
    b'{"id":1,"src":"x","dst":"shellypro3em-000000000000","method":"EM.GetStatus","params":{"id":0}}',
    b'{"id":1,"src":"y","result":{}}', b'{"id":1,"method":"EM.GetStatus","params":{"id":0},"x":"' + b"x" * 33000 + b'"}'])
def test_rubbish_is_not_answered(demo, datagram):
    assert demo.udp(datagram, timeout=0.4) is None
    assert demo.udp(REQUEST.encode()), "and the next request is answered"


def test_jsonrpc_as_the_original(demo):
    answer = json.loads(demo.udp({"jsonrpc": "2.0", "id": 3, "method": "Shelly.GetDeviceInfo"}))
    assert answer["jsonrpc"] == "2.0" and answer["id"] == 3 and answer["result"]["id"] == demo.info()["id"]
    batch = json.loads(demo.udp([{"jsonrpc": "2.0", "id": n, "method": "EM.GetStatus", "params": {"id": 0}} for n in (1, 2)]))
    assert [a["id"] for a in batch] == [1, 2]


def test_silent_without_data(grid):
    ha, meter = grid
    meter.stop()
    meter.options["hold"] = 1
    meter.start()
    meter.until_total(512, 5)
    ha.set("sensor.grid", "unavailable")
    until(lambda: meter.em()["total_act_power"] is None, 4)
    for method in ("EM.GetStatus", "EM1.GetStatus"):
        assert meter.udp({"id": 1, "method": method, "params": {"id": 0}}, timeout=0.7) is None
    assert meter.udp({"id": 1, "method": "Shelly.GetDeviceInfo"})
    ha.set("sensor.grid", "-90")
    until(lambda: near(json.loads(meter.udp(REQUEST.encode(), timeout=0.5) or "null")["result"]["total_act_power"], -90), 1)


@pytest.mark.parametrize("options, check", [
    ({"udp_reply": "short"}, lambda r: list(r) == ["a_act_power", "b_act_power", "c_act_power", "total_act_power"]),
    ({"udp_decimals": "nonzero"}, lambda r: r["c_act_power"] == 0.001 and near(r["a_act_power"], 120.001, 0.0001))])
def test_options(replay, options, check):
    text = replay(120.0, -30.2, 0.0, options).udp(REQUEST.encode())
    assert check(json.loads(text)["result"]), text


def test_broadcast_address_of_loopback(replay):
    """A battery finds the meter by broadcast; the answer comes from the port asked."""
    meter = replay(5.0, 0.0, 0.0)
    meter.stop()
    meter.args = (*meter.args, "--bind", "0.0.0.0")
    meter.start()
    meter.until_total(5.0, 5)
    with socket.socket(type=socket.SOCK_DGRAM) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        s.bind((LOCAL, 0))
        s.settimeout(2)
        s.sendto(REQUEST.encode(), ("127.255.255.255", meter.udp_ports[0]))
        text, sender = s.recvfrom(65535)
    assert sender[1] == meter.udp_ports[0] and json.loads(text)["id"] == 1


def test_no_amplification(new_meter):
    meter = new_meter({"rate_limit": 10, "control": "off"}, args=["--source", "demo"]).start()
    with socket.socket(type=socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.7", 0))
        s.settimeout(0.3)
        for _ in range(100):
            s.sendto(REQUEST.encode(), (LOCAL, meter.udp_ports[0]))
        answers = 0
        with pytest.raises(TimeoutError):
            while True:
                s.recv(65535)
                answers += 1
    assert 5 <= answers <= 30
