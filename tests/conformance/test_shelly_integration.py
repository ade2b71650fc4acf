"""The circle closed: Home Assistant's own Shelly integration adds us, and shows the sensors that we read from it."""
import asyncio

import pytest

import ha_up
import shelly_in_ha
from harness import LOCAL, aio_until, near, until

PHASES = {"a_power": "sensor.grid_l1_power", "b_power": "sensor.grid_l2_power", "c_power": "sensor.grid_l3_power"}


@pytest.fixture
def shelly(ha):
    """Home Assistant without Shelly devices, before and after."""
    asyncio.run(shelly_in_ha.remove_all(ha))
    yield ha
    asyncio.run(shelly_in_ha.remove_all(ha))


async def states(ha, mac, entry):
    """The states of our device's entities by what follows the MAC in the unique id."""
    async with ha_up.Session(ha) as ws:
        found = await shelly_in_ha.dump(ws, entry)
    return {e["unique_id"].removeprefix(f"{mac}-"): e for e in found["entities"]}


async def test_all_entities_follow(shelly, new_meter):
    await asyncio.to_thread(shelly.set, grid_l1=100, grid_l2=-50, grid_l3=25)
    meter = new_meter(PHASES, ha=shelly).start()
    meter.until_total(75, 5)
    mac = meter.info()["mac"]
    added = await shelly_in_ha.add(shelly, LOCAL, meter.http_port, expect=37)
    assert added["result"] == "loaded" and len(added["entities"]) == 37, added
    assert added["issues"] == [] and added["entry"]["reason"] is None
    assert any(d["model_id"] == "SPEM-003CEBEU" or "Pro 3EM" in (d["model"] or "") for d in added["devices"])

    async def value(key):
        state = (await states(shelly, mac, added["entry"]))[key]["state"]
        return None if state in (None, "unknown", "unavailable") else float(state)
    for l1, l2, l3 in ((1200.5, -300, 0), (-5, -6.5, -7), (0, 0, 0)):
        await asyncio.to_thread(shelly.set, grid_l1=l1, grid_l2=l2, grid_l3=l3)
        for key, watts in (("total", l1 + l2 + l3), ("a", l1), ("b", l2), ("c", l3)):
            async def follows(key=key, watts=watts):
                return near(await value(f"em:0-{key}_act_power"), watts)
            await aio_until(follows, 5, f"{key} {watts}")
    energy = meter.emdata()["total_act"] / 1000
    assert near(await value("emdata:0-total_act"), energy, 0.05)
    assert 35 <= await value("temperature:0-temperature_tc") <= 55


async def test_unavailable_source_is_unknown_there(shelly, new_meter):
    meter = new_meter({"total_power": "sensor.grid_power", "hold": 1}, ha=shelly).start()
    await asyncio.to_thread(shelly.set, grid_power=440)
    meter.until_total(440, 5)
    mac = meter.info()["mac"]
    added = await shelly_in_ha.add(shelly, LOCAL, meter.http_port, expect=37)

    async def state():
        return (await states(shelly, mac, added["entry"]))["em:0-total_act_power"]["state"]
    try:
        await asyncio.to_thread(shelly.available, False)

        async def unknown():
            return await state() == "unknown"
        await aio_until(unknown, 6)
    finally:
        await asyncio.to_thread(shelly.available, True)

    async def back():
        return near(float(await state()), 440)
    await aio_until(back, 5)


async def test_reconnects_after_our_restart(shelly, new_meter):
    meter = new_meter({"total_power": "sensor.grid_power"}, ha=shelly).start()
    await asyncio.to_thread(shelly.set, grid_power=10)
    meter.until_total(10, 5)
    mac = meter.info()["mac"]
    added = await shelly_in_ha.add(shelly, LOCAL, meter.http_port, expect=37)
    assert added["result"] == "loaded"
    meter.stop()

    async def total():
        return (await states(shelly, mac, added["entry"]))["em:0-total_act_power"]["state"]

    async def gone():
        return await total() == "unavailable"
    await aio_until(gone, 10)
    meter.start()
    assert meter.info()["mac"] == mac, "the same device"
    await asyncio.to_thread(shelly.set, grid_power=222)

    async def back():
        return await total() == "222.0"
    await aio_until(back, 90)  # Home Assistant tries once a minute


async def test_password(shelly, new_meter):
    meter = new_meter({"total_power": "sensor.grid_power", "auth_password": "s3cret"}, ha=shelly).start()
    meter.get("/shelly")
    wrong = await shelly_in_ha.add(shelly, LOCAL, meter.http_port, password="no")
    assert wrong["result"] == "no entry" and wrong["flow"]["errors"] == {"base": "invalid_auth"}
    added = await shelly_in_ha.add(shelly, LOCAL, meter.http_port, password="s3cret", expect=37)
    assert added["result"] == "loaded"


async def test_our_own_entities_are_refused(shelly, new_meter):
    meter = new_meter({"total_power": "sensor.grid_power"}, ha=shelly).start()
    await asyncio.to_thread(shelly.set, grid_power=10)
    meter.until_total(10, 5)
    mac = meter.info()["mac"]
    added = await shelly_in_ha.add(shelly, LOCAL, meter.http_port, expect=37)
    own = (await states(shelly, mac, added["entry"]))["em:0-total_act_power"]["entity_id"]
    meter.stop()
    meter.options = {"total_power": own}
    meter.start()
    until(lambda: own in meter.log(), 10, "the log names the refused entity")
    assert meter.em()["total_act_power"] is None
