"""A scripted Home Assistant: its WebSocket and REST API for a handful of states, in a thread of its own.

For what a real one cannot do on cue: drop the connection for so long, say `unknown` for so long, start slowly.
The frames are those measured of a real one. `set`, `remove`, `drop`, `accept` may be called from any thread.
"""
import asyncio
import datetime
import threading
import time

from aiohttp import WSMsgType, web

from fake_ingress import ADMINISTRATOR, GUEST
from harness import LOCAL, free_port

TOKEN = "fake-token"


class FakeHA:
    def __init__(self):
        self.port = free_port()
        self.url = f"http://{LOCAL}:{self.port}"
        self.token = TOKEN
        self.states, self.prefs, self.registry, self.core_state = {}, None, {}, "RUNNING"
        # What its recorder knows: entity → {"mean": W} or {"change": Wh an hour}, the same all the time.
        self.recorded = {}
        self.muted = False
        # Persistent notifications by id: title and message. Its answers to the Energy settings' prices are states.
        self.notifications, self.currency = {}, "EUR"
        self.users = {ADMINISTRATOR: "system-admin", GUEST: "system-users"}
        self.sockets, self.subscriptions, self.connections, self.refused = set(), [], 0, 0
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.runner = None

    def start(self):
        self.thread.start()
        self.accept()
        return self

    def close(self):
        self.drop()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

    # -- the script
    def accept(self):
        """Listen (again)."""
        self.run(self._listen())

    def drop(self):
        """Break every connection and refuse new ones."""
        self.run(self._drop())

    def set(self, entity, state, unit="W", device_class="power", **attributes):
        """Make or change a state, as an integration would."""
        self.run(self._set(entity, str(state), {"unit_of_measurement": unit, "device_class": device_class, **attributes}))

    def remove(self, entity):
        self.run(self._remove(entity))

    def mute(self, on=True):
        """Stay connected without a word: no pongs, no events (a dead link)."""
        self.muted = on

    async def _listen(self):
        if self.runner is None:
            app = web.Application()
            app.add_routes([web.get("/api/websocket", self._socket), web.get("/api/", self._rest), web.get("/api/{path:.*}", self._rest),
                            web.post("/api/services/persistent_notification/{service}", self._notify)])
            self.runner = web.AppRunner(app, shutdown_timeout=0.1)
            await self.runner.setup()
            await web.TCPSite(self.runner, LOCAL, self.port, reuse_address=True).start()

    async def _drop(self):
        runner, self.runner = self.runner, None
        for ws in list(self.sockets):
            if ws._req is not None and ws._req.transport is not None:
                ws._req.transport.abort()
        if runner:
            await runner.cleanup()

    async def _set(self, entity, state, attributes):
        now, old = time.time(), self.states.get(entity)
        if old and old["s"] == state and old["a"] == attributes:
            return
        self.states[entity] = {"s": state, "a": attributes, "c": "01M8", "lc": now}
        if old is None:
            event = {"a": {entity: self.states[entity]}}
        else:
            plus, minus = {"lc": now, "c": "01M8"}, [k for k in old["a"] if k not in attributes]
            if old["s"] != state:
                plus["s"] = state
            if changed := {k: v for k, v in attributes.items() if old["a"].get(k) != v}:
                plus["a"] = changed
            event = {"c": {entity: {"+": plus} | ({"-": {"a": minus}} if minus else {})}}
        await self._publish(entity, event)

    async def _remove(self, entity):
        if self.states.pop(entity, None):
            await self._publish(entity, {"r": [entity]})

    async def _publish(self, entity, event):
        for ws, number, wanted in self.subscriptions:
            if not self.muted and (wanted is None or entity in wanted) and not ws.closed:
                await ws.send_json({"type": "event", "event": event, "id": number})

    def full(self, entity):
        s = self.states[entity]
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(s["lc"]))
        return {"entity_id": entity, "state": s["s"], "attributes": s["a"], "last_changed": stamp, "last_reported": stamp,
                "last_updated": stamp, "context": {"id": "01M8", "parent_id": None, "user_id": None}}

    # -- the API
    async def _socket(self, request):
        ws = web.WebSocketResponse(autoping=False)
        await ws.prepare(request)
        self.sockets.add(ws)
        self.connections += 1
        try:
            await ws.send_json({"type": "auth_required", "ha_version": "2026.11.0"})
            first = await ws.receive_json(timeout=10)
            if first.get("access_token") != self.token:
                self.refused += 1
                await ws.send_json({"type": "auth_invalid", "message": "Invalid access token or password"})
                return ws
            await ws.send_json({"type": "auth_ok", "ha_version": "2026.11.0"})
            async for message in ws:
                if self.muted:
                    continue
                if message.type == WSMsgType.PING:
                    await ws.pong(message.data)
                elif message.type == WSMsgType.TEXT:
                    await self._command(ws, message.json())
        except (TypeError, TimeoutError, ConnectionError):
            pass
        finally:
            self.sockets.discard(ws)
            self.subscriptions = [s for s in self.subscriptions if s[0] is not ws]
            if not ws.closed:
                await ws.close()
        return ws

    async def _command(self, ws, m):
        number, kind = m["id"], m["type"]

        async def result(value):
            await ws.send_json({"id": number, "type": "result", "success": True, "result": value})

        async def error(code, message):
            await ws.send_json({"id": number, "type": "result", "success": False, "error": {"code": code, "message": message}})
        if kind == "ping":
            await ws.send_json({"id": number, "type": "pong"})
        elif kind == "get_config":
            await result(self.config())
        elif kind == "get_states":
            await result([self.full(e) for e in self.states])
        elif kind == "subscribe_entities":
            wanted = m.get("entity_ids")
            self.subscriptions.append((ws, number, None if wanted is None else set(wanted)))
            await result(None)
            now = {e: s for e, s in self.states.items() if wanted is None or e in wanted}
            await ws.send_json({"type": "event", "event": {"a": now}, "id": number})
        elif kind in ("subscribe_events", "unsubscribe_events", "supported_features"):
            await result(None)
        elif kind == "energy/get_prefs":
            await (result(self.prefs) if self.prefs else error("not_found", "No prefs"))
        elif kind == "recorder/statistics_during_period":
            await result(self.statistics(m))
        elif kind == "config/entity_registry/get" and m.get("entity_id") in self.registry:
            await result(self.registry[m["entity_id"]])
        elif kind == "config/entity_registry/get":
            await error("not_found", "Entity not found")
        elif kind == "config/entity_registry/get_entries":
            await result({e: self.registry.get(e) for e in m["entity_ids"]})
        elif kind == "config/entity_registry/list":
            await result(list(self.registry.values()))
        elif kind in ("config/area_registry/list", "config/device_registry/list"):
            await result([])
        elif kind == "config/auth/list":
            await result([{"id": user, "username": group, "name": group, "is_owner": False, "is_active": True, "local_only": False,
                           "system_generated": False, "group_ids": [group], "credentials": []} for user, group in self.users.items()])
        else:
            await error("unknown_command", "Unknown command.")

    def statistics(self, m):
        step = {"5minute": 300, "hour": 3600}[m["period"]]
        end = int(time.time()) // step * step
        begin = int(datetime.datetime.fromisoformat(m["start_time"]).timestamp()) // step * step + step
        row = {name: {"mean": of.get("mean"), "change": of["change"] * step / 3600 if "change" in of else None}
               for name, of in self.recorded.items() if name in m["statistic_ids"]}
        return {name: [{"start": at * 1000, "end": (at + step) * 1000, **values} for at in range(begin, end, step)] for name, values in row.items()}

    def config(self):
        return {"state": self.core_state, "version": "2026.11.0", "location_name": "Fake", "time_zone": "Europe/Berlin",
                "unit_system": {"power": "W"}, "language": "en", "currency": self.currency, "components": [], "recovery_mode": False, "safe_mode": False}

    async def _notify(self, request):
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401, text="401: Unauthorized")
        body = await request.json()
        if request.match_info["service"] == "create":
            self.notifications[body["notification_id"]] = (body.get("title"), body["message"])
        else:
            self.notifications.pop(body["notification_id"], None)
        return web.json_response([])

    async def _rest(self, request):
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            self.refused += 1
            return web.Response(status=401, text="401: Unauthorized")
        path = request.path.removeprefix("/api/")
        if path == "":
            return web.json_response({"message": "API running."})
        if path == "core/state":
            return web.json_response({"state": self.core_state, "recorder_state": {}})
        if path == "config":
            return web.json_response(self.config())
        if path == "states":
            return web.json_response([self.full(e) for e in self.states])
        if path.startswith("states/") and path[7:] in self.states:
            return web.json_response(self.full(path[7:]))
        return web.json_response({"message": "Entity not found."}, status=404)
