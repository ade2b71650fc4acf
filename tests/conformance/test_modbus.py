"""Modbus TCP by pymodbus: the device's official input registers, the original's map, and the device's exceptions."""
import socket
import struct
import time

import pytest
from pymodbus.client import ModbusTcpClient

from harness import LOCAL, golden, near, until


@pytest.fixture
def modbus(replay):
    """(meter, client) of 400.5, -100.25 and 11.5 W."""
    meter = replay(400.5, -100.2, 11.5)
    client = ModbusTcpClient(LOCAL, port=meter.modbus_port)
    assert client.connect()
    yield meter, client
    client.close()


def low_first(words):
    return struct.unpack(">f", struct.pack(">HH", words[1], words[0]))[0]


def high_first(words):
    return struct.unpack(">f", struct.pack(">HH", *words))[0]


def official(client, address, read=low_first):
    return read(client.read_input_registers(address, count=2, device_id=1).registers)


def test_official_map(modbus):
    meter, client = modbus
    em, data = meter.em(), meter.emdata()
    assert near(official(client, 1013), em["total_act_power"], 0.01) and near(official(client, 1011), em["total_current"], 0.01)
    assert near(official(client, 1015), em["total_aprt_power"], 0.01)
    for phase, base in zip("abc", (1020, 1040, 1060)):
        for offset, key in enumerate(("voltage", "current", "act_power", "aprt_power", "pf")):
            assert near(official(client, base + 2 * offset), em[f"{phase}_{key}"], 0.01), (phase, key)
        assert near(official(client, base + 13), 50.0)
        assert client.read_input_registers(base + 10, count=3, device_id=1).registers == [0, 0, 0]
    stamp = client.read_input_registers(1000, count=2, device_id=1).registers
    assert abs((stamp[1] << 16 | stamp[0]) - time.time()) < 10
    assert near(official(client, 1162), data["total_act"], 2) and near(official(client, 1164), data["total_act_ret"], 2)
    mac = client.read_input_registers(0, count=6, device_id=1).registers
    assert b"".join(w.to_bytes(2, "little") for w in mac).decode() == meter.info()["mac"]
    low, high = (int(word, 16) for word in golden("modbus_em_voltage_word_order")["response"]["registers"])
    assert low_first([low, high]) == 233.5


def test_legacy_map(modbus):
    meter, client = modbus
    em = meter.em()
    for read in (client.read_input_registers, client.read_holding_registers):
        def value(address, read=read):
            return high_first(read(address, count=2, device_id=1).registers)
        assert near(value(3000), 50.0) and near(value(3026), em["total_act_power"], 0.01)
        for n, phase in enumerate("abc"):
            assert near(value(3002 + 2 * n), 230.0) and near(value(3020 + 2 * n), em[f"{phase}_act_power"], 0.01)
            assert near(value(3010 + 2 * n), em[f"{phase}_current"], 0.01) and near(value(3030 + 2 * n), em[f"{phase}_pf"], 0.01)
        assert near(value(3112), meter.emdata()["total_act"] / 1000, 0.01)
    words = client.read_holding_registers(3300, count=8, device_id=1).registers
    assert meter.info()["id"].startswith(b"".join(w.to_bytes(2, "big") for w in words).decode().rstrip("\0"))
    assert client.read_holding_registers(3400, count=2, device_id=1).registers == [1, 3]


@pytest.mark.parametrize("call, code", [
    (lambda c: c.read_input_registers(500, count=2, device_id=1), 2),       # no such block
    (lambda c: c.read_input_registers(1070, count=20, device_id=1), 2),     # across the block's end
    (lambda c: c.read_input_registers(2000, count=2, device_id=1), 2),      # the other profile's block
    (lambda c: c.read_holding_registers(1000, count=2, device_id=1), 1),    # the device answers function 4 only
    (lambda c: c.read_coils(0, count=1, device_id=1), 1),
    (lambda c: c.write_register(4200, 1, device_id=1), 1),                  # reset: behind its switch
    (lambda c: c.read_input_registers(1000, count=2, device_id=9), 0x0B)])
def test_exceptions(modbus, call, code):
    answer = call(modbus[1])
    assert answer.isError() and answer.exception_code == code


def test_any_start_and_count_inside_a_block(modbus):
    _, client = modbus
    for address, count in ((0, 48), (1000, 80), (1001, 79), (1079, 1), (1160, 70), (3000, 125), (4100, 101)):
        answer = client.read_input_registers(address, count=count, device_id=1)
        assert not answer.isError() and len(answer.registers) == count, address


@pytest.mark.parametrize("request_, answer", [
    ("01 04 0bb8 007e", "01 84 03"),  # 126 registers
    ("01 04 0bb8 0000", "01 84 03"),
    ("00 04 07d0 0001", "00 84 02"),  # units 0 and 255 are answered as 1
    ("ff 04 07d0 0001", "ff 84 02"),
    ("01 2b 0e01 00", "01 ab 01")])
def test_bytes(modbus, request_, answer):
    meter, _ = modbus
    request_, answer = bytes.fromhex(request_), bytes.fromhex(answer)
    with socket.create_connection((LOCAL, meter.modbus_port), timeout=5) as s:
        s.sendall(struct.pack(">HHH", 7, 0, len(request_)) + request_)
        assert s.recv(64) == struct.pack(">HHH", 7, 0, len(answer)) + answer


def test_reset_by_its_switch(replay):
    meter = replay(360000.0, 0.0, 0.0, {"modbus_reset": True})  # 100 Wh a second
    until(lambda: meter.emdata()["total_act"] > 400, 10)
    client = ModbusTcpClient(LOCAL, port=meter.modbus_port)
    assert client.connect() and not client.write_register(4200, 1, device_id=1).isError()
    until(lambda: meter.emdata()["total_act"] < 250, 2)
    client.close()


def test_switched_off_by_rpc(demo):
    client = ModbusTcpClient(LOCAL, port=demo.modbus_port)
    assert client.connect()
    client.close()
    assert demo.rpc("Modbus.SetConfig", {"config": {"enable": False}}) == {"restart_required": False}
    until(lambda: not ModbusTcpClient(LOCAL, port=demo.modbus_port, timeout=1, retries=0).connect(), 5)
    demo.rpc("Modbus.SetConfig", {"config": {"enable": True}})
    until(lambda: ModbusTcpClient(LOCAL, port=demo.modbus_port, timeout=1, retries=0).connect(), 5)


def test_absent_is_an_exception(grid):
    ha, meter = grid
    meter.stop()
    meter.options["hold"] = 0
    meter.start()
    meter.until_total(512, 5)
    ha.set("sensor.grid", "unavailable")
    until(lambda: meter.em()["total_act_power"] is None, 3)
    client = ModbusTcpClient(LOCAL, port=meter.modbus_port)
    assert client.connect()
    for address in (1000, 1002, 1013, 1024, 3000, 3020):
        assert client.read_input_registers(address, count=2, device_id=1).exception_code == 4, "never NaN, never a number"
    for address in (0, 1162, 3100):
        assert not client.read_input_registers(address, count=2, device_id=1).isError(), "identity and counters stay"
    client.close()


def test_many_clients(modbus):
    meter, _ = modbus
    clients = [ModbusTcpClient(LOCAL, port=meter.modbus_port) for _ in range(20)]
    assert all(c.connect() for c in clients)
    assert {round(official(c, 1013), 1) for c in clients} == {round(meter.total(), 1)}
    for c in clients:
        c.close()
