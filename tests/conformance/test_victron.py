"""Victron GX: dbus-shelly v2 (finds channels by counting ids) and its outbound WebSocket driver (the grid meter)."""
import asyncio
import contextlib
import json

import aiohttp
import pytest
from aiohttp import web
from aioshelly.common import ConnectionOptions
from aioshelly.exceptions import RpcCallError
from aioshelly.rpc_device import RpcDevice, WsServer
from pymodbus.client import ModbusTcpClient

from harness import LOCAL, aio_until, free_port, near, until


async def channels(shelly, capability):
    """dbus-shelly counts a channel for each id whose GetConfig is answered without error and not null."""
    n = 0
    while n < 20:
        try:
            if await shelly.call_rpc(f"{capability}.GetConfig", {"id": n}) is None:
                break
        except RpcCallError:
            break
        n += 1
    return n


async def set_up(shelly):
    """What the driver does when it finds a device, and again when a channel is enabled."""
    await shelly.initialize()
    info = await shelly.call_rpc("Shelly.GetDeviceInfo")
    methods = (await shelly.call_rpc("Shelly.ListMethods"))["methods"]
    assert methods and info["mac"] == shelly.shelly["mac"]
    found = {}
    for capability in ("Switch", "Light", "EM1", "EM1Data", "PM1", "EM", "EMData", "Temperature"):
        if f"{capability}.GetConfig" in methods:
            found[capability] = await channels(shelly, capability)
    return found


async def test_v2(replay):
    meter = replay(412.5, -112.0, 0.0)
    async with aiohttp.ClientSession() as session:
        for _ in range(2):
            shelly = await RpcDevice.create(session, WsServer(), ConnectionOptions(LOCAL, port=meter.http_port))
            assert await set_up(shelly) == {"EM": 1, "EMData": 1, "Temperature": 1}
            assert (await shelly.call_rpc("EM.GetConfig", {"id": 0}))["name"] is None
            status = await shelly.call_rpc("EM.GetStatus", {"id": 0})
            assert len([k for k in status if k.endswith("_voltage")]) == 3
            energy = await shelly.call_rpc("EMData.GetStatus", {"id": 0})
            for phase in "abc":
                assert all(isinstance(status[f"{phase}_{k}"], float) for k in ("voltage", "current", "act_power", "pf"))
                assert all(f"{phase}_{k}" in energy for k in ("total_act_energy", "total_act_ret_energy"))
            updates = []
            shelly.subscribe_updates(lambda _, kind: updates.append(kind))
            await aio_until(lambda: updates, 12, "it lives on NotifyStatus only")
            await shelly.shutdown()


async def test_v2_renames_the_channel(demo):
    async with aiohttp.ClientSession() as session:
        shelly = await RpcDevice.create(session, WsServer(), ConnectionOptions(LOCAL, port=demo.http_port))
        await shelly.initialize()
        assert await shelly.call_rpc("EM.SetConfig", {"id": 0, "config": {"name": "Grid"}}) == {"restart_required": False}
        assert (await shelly.call_rpc("EM.GetConfig", {"id": 0}))["name"] == "Grid"
        await shelly.shutdown()
    demo.restart()
    assert demo.rpc("EM.GetConfig", {"id": 0})["name"] == "Grid", "kept"


class Gx:
    """The GX's server on port 8000: speaks first with a string id, then lives on NotifyStatus."""

    def __init__(self):
        self.port, self.meters, self.partial, self.answers, self.calls = free_port(), {}, [], [], 0
        self.sockets = []

    @property
    def url(self):
        return f"ws://{LOCAL}:{self.port}/"

    @contextlib.asynccontextmanager
    async def listen(self):
        app = web.Application()
        app.add_routes([web.get("/{path:.*}", self.handle)])
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, LOCAL, self.port).start()
        try:
            yield self
        finally:
            await runner.cleanup()

    async def handle(self, request):
        ws = web.WebSocketResponse(heartbeat=20, protocols=["json-rpc"])
        await ws.prepare(request)
        self.sockets.append(ws)
        self.calls += 1
        await ws.send_json({"id": f"GetDeviceInfo-{999 + self.calls}", "method": "Shelly.GetDeviceInfo"})
        async for message in ws:
            frame = json.loads(message.data)
            if frame.get("id") == f"GetDeviceInfo-{999 + self.calls}":
                self.answers.append(frame)
                self.meters[frame["result"]["mac"]] = {"fw": frame["result"]["fw_id"], "updates": 0}
            elif frame.get("method") == "NotifyStatus":
                self.take(frame)
        return ws

    def take(self, frame):
        for meter in self.meters.values():
            if em := frame["params"].get("em:0"):
                meter["power"] = [float(em[f"{p}_act_power"]) for p in "abc"]
                meter["rest"] = [(em[f"{p}_voltage"], em[f"{p}_current"]) for p in "abc"]
            if data := frame["params"].get("emdata:0"):
                meter["energy"] = [data[f"{p}_total_act{r}_energy"] for p in "abc" for r in ("", "_ret")]
                meter["total"] = (data["total_act"], data["total_act_ret"])
            meter["updates"] += 1


async def test_grid_meter_by_outbound_websocket(new_meter, fake_ha):
    fake_ha.set("sensor.grid", "-850.5")
    async with Gx().listen() as gx:
        meter = new_meter({"total_power": "sensor.grid", "hold": 1, "outbound_ws": [gx.url]}, ha=fake_ha).start()
        mac = meter.info()["mac"]
        await aio_until(lambda: gx.meters[mac].get("power") and gx.meters[mac].get("total"), 10, "em:0 and emdata:0 at once")
        assert gx.meters[mac]["power"] == [-850.5, 0.0, 0.0], "signs are kept"
        assert list(gx.answers[0]) == ["id", "src", "result"] and gx.answers[0]["id"] == "GetDeviceInfo-1000"
        fake_ha.set("sensor.grid", "300")
        await aio_until(lambda: near(gx.meters[mac]["power"][0], 300), 2.5)
        # a stale source: the connection stays, nothing is sent
        fake_ha.set("sensor.grid", "unavailable")
        await aio_until(lambda: meter.em()["total_act_power"] is None, 5)
        await asyncio.sleep(0.5)
        before = gx.meters[mac]["updates"]
        await asyncio.sleep(3)
        assert gx.meters[mac]["updates"] == before and not gx.sockets[0].closed
        fake_ha.set("sensor.grid", "120")
        await aio_until(lambda: near(gx.meters[mac]["power"][0], 120), 3)
        assert gx.calls == 1, "one connection through all of it"
        # a broken one is dialled again at once
        gx.sockets[0]._req.transport.abort()
        await aio_until(lambda: gx.calls == 2 and gx.meters[mac]["updates"], 5, "reconnects at once")


async def test_outbound_by_rpc(new_meter):
    async with Gx().listen() as gx:
        # the GX of this test is on the same machine, which a reader may name only by this option
        demo = new_meter(args=["--source", "demo", "--outbound-ws-local"]).start()
        until(lambda: demo.get("/healthz").status == 200, 10)
        changed = demo.rpc("Ws.SetConfig", {"config": {"enable": True, "server": gx.url, "ssl_ca": "*"}})
        assert changed == {"restart_required": True}
        demo.restart()
        assert demo.rpc("Ws.GetConfig") == {"enable": True, "server": gx.url, "ssl_ca": "*"}
        mac = demo.info()["mac"]
        await aio_until(lambda: gx.meters[mac]["updates"], 10)
        assert demo.rpc("Ws.GetStatus") == {"connected": True}


def test_modbus_probe(demo):
    """The community Modbus driver reads the model at 6, first character in the low byte, and probes for components."""
    client = ModbusTcpClient(LOCAL, port=demo.modbus_port)
    assert client.connect()
    words = client.read_input_registers(6, count=10, device_id=1).registers
    assert b"".join(w.to_bytes(2, "little") for w in words).rstrip(b"\0") == b"SPEM-003CEBEU"
    for address in (2040, 2020, 2000):
        assert client.read_input_registers(address, count=2, device_id=1).exception_code == 2
    assert not client.read_input_registers(1000, count=80, device_id=1).isError()
    client.close()


@pytest.mark.parametrize("method", ["EM.GetConfig", "EMData.GetConfig", "EM.GetStatus", "EMData.GetStatus", "Temperature.GetConfig"])
def test_ids_are_checked(demo, method):
    for number in (1, 2, -1, 100, "0x", 0.5):
        assert demo.post(f"/rpc/{method}", {"id": number}).json()["code"] in (-105, -103), number
    assert demo.post(f"/rpc/{method}", {}).json()["code"] == -103
