"""aioshelly, the library of Home Assistant's Shelly integration: set-up, values, updates, reconnects, passwords."""
import contextlib

import aiohttp
import pytest
from aiohttp import web
from aioshelly.common import ConnectionOptions, get_info
from aioshelly.exceptions import InvalidAuthError, RpcCallError
from aioshelly.rpc_device import RpcDevice, RpcUpdateType, WsServer

from harness import LOCAL, aio_until, free_port, near


@contextlib.asynccontextmanager
async def device(meter, server=None, **options):
    """An initialised RpcDevice, and the list of its updates."""
    async with aiohttp.ClientSession() as session:
        shelly = await RpcDevice.create(session, server or WsServer(),
                                        ConnectionOptions(LOCAL, port=meter.http_port, **options))
        updates = []
        shelly.subscribe_updates(lambda _, kind: updates.append(kind))
        await shelly.initialize()
        try:
            yield shelly, updates
        finally:
            await shelly.shutdown()


async def test_info(demo):
    async with aiohttp.ClientSession() as session:
        info = await get_info(session, LOCAL, port=demo.http_port)
    assert info == demo.info()


async def test_initialise_and_read(grid):
    _, meter = grid
    async with device(meter) as (shelly, _):
        assert shelly.connected and shelly.initialized and shelly.firmware_supported
        assert shelly.model == "SPEM-003CEBEU" and shelly.gen == 2 and shelly.firmware_version.startswith("20260311-")
        assert near(shelly.status["em:0"]["total_act_power"], 512)
        assert shelly.status["em:0"]["a_act_power"] == 512.0 and shelly.config["em:0"]["ct_type"] == "120A"
        assert shelly.shelly["mac"] == meter.info()["mac"] and shelly.requires_auth is False


async def test_updates(grid):
    ha, meter = grid
    async with device(meter) as (shelly, updates):
        ha.set("sensor.grid", "612")
        await aio_until(lambda: near(shelly.status["em:0"]["total_act_power"], 612), 3)
        assert RpcUpdateType.STATUS in updates
        ha.set("sensor.grid", "-300.5")
        await aio_until(lambda: near(shelly.status["em:0"]["total_act_power"], -300.5), 3)


async def test_calls(demo):
    async with device(demo) as (shelly, _):
        assert "EM.GetStatus" in await shelly.methods_list()
        await shelly.update_status()
        assert await shelly.call_rpc("Shelly.CheckForUpdate") == {}
        with pytest.raises(RpcCallError) as error:
            await shelly.call_rpc("EM.GetConfig", {"id": 7})
        assert error.value.code == -105


async def test_reconnects_after_restart(grid):
    ha, meter = grid
    async with device(meter) as (shelly, updates):
        meter.stop()
        await aio_until(lambda: RpcUpdateType.DISCONNECTED in updates, 5)
        assert not shelly.connected
        ha.set("sensor.grid", "77")
        meter.start()
        meter.until_total(77, 5)
        await shelly.initialize()
        assert shelly.connected and near(shelly.status["em:0"]["total_act_power"], 77)


@pytest.mark.parametrize("firmware, built", [("1.6.1", "20250508-"), ("1.7.5", "20260311-"), ("2.0.1", "20260923-")])
async def test_digest(new_meter, firmware, built):
    """With a password, whose digest differs between versions: 2.0 has a nonce of text and no `nc` over a frame."""
    meter = new_meter({"auth_password": "correct horse", "firmware": firmware}, args=["--source", "demo"]).start()
    assert meter.info()["auth_en"] is True and meter.info()["auth_domain"] == meter.info()["id"]
    async with device(meter, username="admin", password="correct horse") as (shelly, updates):
        assert shelly.requires_auth and shelly.initialized and shelly.firmware_supported
        assert shelly.firmware_version.startswith(built) and shelly.version == firmware
        await aio_until(lambda: RpcUpdateType.STATUS in updates, 12)
        await shelly.update_status()
        # Not the first frame alone: each further one is signed with the same nonce.
        for _ in range(3):
            assert (await shelly.call_rpc("EM.GetStatus", {"id": 0}))["id"] == 0
    with pytest.raises(InvalidAuthError):
        async with device(meter, username="admin", password="wrong"):
            pass
    async with aiohttp.ClientSession(middlewares=[aiohttp.DigestAuthMiddleware("admin", "correct horse")]) as session:
        async with session.get(f"http://{LOCAL}:{meter.http_port}/rpc/EM.GetStatus?id=0") as answer:
            assert answer.status == 200 and (await answer.json())["id"] == 0
    refused = meter.get("/rpc/EM.GetStatus?id=0")
    assert refused.status == 401 and refused.text == ""
    assert refused.headers["www-authenticate"].startswith(f'Digest qop="auth", realm="{meter.info()["id"]}", nonce="')
    assert refused.headers["www-authenticate"].endswith('", algorithm=SHA-256')


async def test_outbound(new_meter, fake_ha):
    """The meter dials aioshelly's own server, which takes it for a device that reports by itself."""
    fake_ha.set("sensor.grid", "512")
    port, server = free_port(), WsServer()
    app = web.Application()
    app.add_routes([web.get("/api/shelly/ws", server.websocket_handler)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, LOCAL, port).start()
    try:
        meter = new_meter({"total_power": "sensor.grid", "outbound_ws": [f"ws://{LOCAL}:{port}/api/shelly/ws"]}, ha=fake_ha).start()
        frames = []
        mac = meter.info()["mac"]
        server.subscribe_updates(mac, frames.append)
        await aio_until(lambda: any(f["method"] == "NotifyStatus" for f in frames), 15)
        fake_ha.set("sensor.grid", "613")
        await aio_until(lambda: any(near(f["params"].get("em:0", {}).get("total_act_power"), 613) for f in frames), 3)
        assert all(f["src"] == meter.info()["id"] for f in frames)
        await aio_until(lambda: meter.rpc("Ws.GetStatus") == {"connected": True}, 2)
    finally:
        await runner.cleanup()
