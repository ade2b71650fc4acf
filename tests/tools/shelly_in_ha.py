#!/usr/bin/env python3
"""Let a Home Assistant started by ha_up.py set up its own Shelly integration for a device on loopback.

  shelly_in_ha.py HOST:PORT [--ha-port 18123] [--password PW] [--expect 37] [--wait 20]
  shelly_in_ha.py --list | --remove

Prints {"result", "entry", "devices", "entities": [{unique_id, entity_id, state, unit, …}], "issues"}; exit 0
when the entry is loaded with at least --expect entities. --remove deletes every Shelly entry again.
The tests use the functions below.
"""
import argparse
import asyncio
import ipaddress
import json
import sys
import time

import ha_up  # starts this file again with the right Python if needed
import python_env

FLOW = "/api/config/config_entries/flow"


async def rest(ha, method, path, body=None):
    return await asyncio.to_thread(ha.rest, method, path, body)


async def flow(ha, host, port, password=None):
    """The integration's set-up dialogue by host and port, step by step; its last answer."""
    status, form = await rest(ha, "POST", FLOW, {"handler": "shelly", "show_advanced_options": True})
    for _ in range(6):
        if status != 200 or form["type"] != "form" or form.get("errors"):
            return form if status == 200 else {"type": "http_error", "status": status, "body": form}
        names = [field["name"] for field in form.get("data_schema") or []]
        if "host" in names:
            answer = {"host": host, "port": port}
        elif "password" in names:
            if password is None:
                return form
            answer = {"password": password} | ({"username": "admin"} if "username" in names else {})
        elif "device" in names:  # mDNS found devices: by hand all the same
            answer = {"device": "manual"}
        else:
            answer = {}
        status, form = await rest(ha, "POST", f"{FLOW}/{form['flow_id']}", answer)
    return {"type": "too_many_steps", "last": form}


async def entries(ws):
    return await ws.call("config_entries/get", domain="shelly")


async def dump(ws, entry):
    """What Home Assistant made of a config entry: devices, entities with their states, repair issues."""
    number = entry["entry_id"]
    states = {s["entity_id"]: s for s in await ws.call("get_states")}
    entities = []
    for e in await ws.call("config/entity_registry/list"):
        if e.get("config_entry_id") == number:
            state = states.get(e["entity_id"], {})
            attributes = state.get("attributes", {})
            entities.append({
                "unique_id": e["unique_id"], "entity_id": e["entity_id"], "state": state.get("state"),
                "unit": attributes.get("unit_of_measurement"), "device_class": attributes.get("device_class"),
                "state_class": attributes.get("state_class"), "disabled_by": e.get("disabled_by")})
    devices = [{k: d.get(k) for k in ("name", "manufacturer", "model", "model_id", "sw_version", "connections")}
               for d in await ws.call("config/device_registry/list") if number in d.get("config_entries", [])]
    issues = [i for i in (await ws.call("repairs/list_issues"))["issues"] if i["domain"] == "shelly"]
    return {"entry": entry, "devices": devices, "entities": sorted(entities, key=lambda e: e["unique_id"]),
            "issues": issues}


async def add(ha, host, port, password=None, expect=1, wait=20):
    """Set the device up and wait until its entry is loaded with `expect` entities (or failed)."""
    end = await flow(ha, host, port, password)
    if end.get("type") != "create_entry":
        return {"result": "no entry", "flow": {k: v for k, v in end.items() if k != "data_schema"}}
    number, deadline = end["result"]["entry_id"], time.monotonic() + wait
    async with ha_up.Session(ha) as ws:
        while True:
            entry = next((e for e in await entries(ws) if e["entry_id"] == number), {"entry_id": number, "state": "gone"})
            found = await dump(ws, entry)
            enough = entry["state"] == "loaded" and len(found["entities"]) >= expect
            if enough or entry["state"] in ("setup_error", "migration_error") or time.monotonic() > deadline:
                return {"result": "loaded" if enough else entry["state"], **found}
            await asyncio.sleep(0.2)


async def remove_all(ha):
    async with ha_up.Session(ha) as ws:
        for entry in await entries(ws):
            await rest(ha, "DELETE", f"/api/config/config_entries/entry/{entry['entry_id']}")


async def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("target", nargs="?")
    p.add_argument("--ha-port", type=int, default=18123)
    p.add_argument("--password")
    p.add_argument("--expect", type=int, default=1)
    p.add_argument("--wait", type=float, default=20)
    p.add_argument("--list", action="store_true")
    p.add_argument("--remove", action="store_true")
    a = p.parse_args()
    folder = python_env.CACHE / f"config-{a.ha_port}"
    info = ha_up.running(folder) or sys.exit(f"no Home Assistant at port {a.ha_port}: start it with ha_up.py")
    ha = ha_up.HomeAssistant(folder, a.ha_port)
    ha.token = info["token"]
    if a.remove:
        return await remove_all(ha)
    if a.list:
        async with ha_up.Session(ha) as ws:
            print(json.dumps([await dump(ws, e) for e in await entries(ws)]))
        return 0
    host, _, port = (a.target or p.error("which device?")).rpartition(":")
    if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
        p.error("only loopback addresses")
    out = await add(ha, host, int(port), a.password, a.expect, a.wait)
    print(json.dumps(out))
    return 0 if out["result"] == "loaded" else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
