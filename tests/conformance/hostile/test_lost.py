"""Power cuts and kills: what was answered stays, and what was served never falls."""
import contextlib
import json
import random
import shutil
import socket
import struct
import subprocess
import time

import pytest

from harness import until
from test_starved import disk  # noqa: F401: a fixture

KILOWATTS = 3.6


def counters(meter):
    """What every channel says of the energy drawn, Wh: a restart must not make one of them fall."""
    with contextlib.closing(socket.create_connection(("127.0.0.1", meter.modbus_port), 5)) as modbus:
        modbus.sendall(struct.pack(">HHHBBHH", 1, 0, 6, 1, 4, 1162, 2))
        low, high = struct.unpack(">HH", modbus.recv(260)[9:13])
    return {"EMData": meter.emdata()["total_act"], "GetStatus": meter.rpc("Shelly.GetStatus")["emdata:0"]["total_act"],
            "UDP": json.loads(meter.udp({"id": 1, "method": "EMData.GetStatus", "params": {"id": 0}}))["result"]["total_act"],
            "Modbus": round(struct.unpack(">f", struct.pack(">HH", high, low))[0], 2)}


def test_kills_under_load(new_meter, fake_ha, long, row):
    """kill -9 at any moment while 3.6 kW are drawn, again and again."""
    fake_ha.set("sensor.grid", str(1000 * KILOWATTS))
    meter = new_meter({"total_power": "sensor.grid", "store_interval": 10}, ha=fake_ha).start()
    meter.until_total(1000 * KILOWATTS, 10)
    dice, rounds, fell = random.Random(7), 200 if long else 20, []
    for n in range(rounds):
        time.sleep(dice.uniform(0.2, 3.0 if long else 1.5))  # the moment of the cut is what is tried
        before = counters(meter)
        meter.kill()
        meter.start()
        meter.until_total(1000 * KILOWATTS, 20)
        after = counters(meter)
        fell += [(n, name, before[name], after[name]) for name in before if after[name] < before[name]]
    row(no=16, case=f"{rounds} times kill -9 under {KILOWATTS} kW", lost="0 Wh" if not fell else f"{max(b - a for _, _, b, a in fell):.2f} Wh", note=f"counters fell {len(fell)} times")
    assert not fell, fell


def test_a_power_cut(new_meter, fake_ha, disk, tmp_path, row):  # noqa: F811
    """The file system as it is at that moment on the disk, with nothing of what only the page cache holds: settings that were answered are there."""
    fake_ha.set("sensor.grid", str(1000 * KILOWATTS))
    meter = new_meter({"total_power": "sensor.grid", "store_interval": 10}, ha=fake_ha)
    meter.data = disk / "data"
    meter.start()
    meter.until_total(1000 * KILOWATTS, 10)
    time.sleep(15)  # a periodic commit lies between
    assert meter.rpc("Sys.SetConfig", {"config": {"device": {"name": "Cellar"}}})
    assert meter.rpc("KVS.Set", {"key": "a", "value": "b"})
    before = counters(meter)
    mac = meter.info()["mac"]
    image, copy, at = tmp_path / "disk.img", tmp_path / "cut.img", tmp_path / "cut"
    subprocess.run(["cp", image, copy], check=True)
    meter.kill()
    at.mkdir()
    subprocess.run(["mount", "-o", "loop", copy, at], check=True)
    try:
        other = new_meter({"total_power": "sensor.grid"}, ha=fake_ha)
        shutil.copytree(at / "data", other.data, dirs_exist_ok=True, ignore=lambda *_: ["control.sock"])
        other.start()
        other.until_total(1000 * KILOWATTS, 20)
        after = counters(other)
        lost = max(before[name] - after[name] for name in before)
        row(no=16, case="a power cut of an ext4 disk", lost=f"{max(lost, 0):.1f} Wh", note="settings that were answered are there")
        assert other.info()["mac"] == mac and other.info()["name"] == "Cellar"
        assert other.rpc("KVS.Get", {"key": "a"})["value"] == "b"
        assert lost <= 0, (before, after)
    finally:
        subprocess.run(["umount", "-l", at], check=True)


@pytest.mark.parametrize("damage", ["missing", "empty", "cut"])
def test_a_lost_database_is_told(new_meter, fake_ha, damage, row):
    """The file is gone, empty or cut short at a start: identity and counters go on, and /healthz says what was lost."""
    fake_ha.set("sensor.grid", str(1000 * KILOWATTS))
    meter = new_meter({"total_power": "sensor.grid", "store_interval": 10}, ha=fake_ha).start()
    meter.until_total(1000 * KILOWATTS, 10)
    until(lambda: meter.emdata()["total_act"] > 1, 30)
    mac = meter.info()["mac"]
    meter.stop()
    for file in meter.data.glob("*.db-*"):
        file.unlink()
    database = next(meter.data.glob("*.db"))
    if damage == "missing":
        database.unlink()
    else:
        database.write_bytes(b"" if damage == "empty" else database.read_bytes()[:3000])
    meter.start()
    meter.until_total(1000 * KILOWATTS, 20)
    health = meter.get("/healthz").json()
    row(no=17, case=f"database {damage} at a start", note=f"{health['status']}: {health['problems'][0][:60]}…" if health["problems"] else health["status"])
    assert meter.info()["mac"] == mac and meter.emdata()["total_act"] >= 1
    assert health["status"] == "degraded" and health["problems"], health
