"""A stand-in Supervisor: the calls of an app to itself, and Home Assistant Core behind its proxy.

Speaks as the Supervisor's source says: envelopes, plain text for 401 and 502, the proxy's own authentication, 502 while
Core is away, the primary network interface. The options are checked against config.yaml, kept, laid over its defaults, and written
to the app's folder at its start only. A restart stops the app, starts it and only then answers. `faults` makes a call fail as the
real one can. Ingress is in fake_ingress.py.
"""
import asyncio
import json
import secrets
import threading

import aiohttp
from aiohttp import web

import app_options
from fake_ingress import Ingress
from harness import LOCAL, free_port


class FakeSupervisor:
    def __init__(self, core, host=LOCAL, port=None, options=None, network=None):
        """`core`: an object with `url` and `token` (a scripted or a real Home Assistant)."""
        self.core, self.host, self.port = core, host, port or free_port()
        self.url = f"http://{host}:{self.port}"
        self.token = secrets.token_hex(56)
        self.options, self.network = options or {"meters": []}, network or {}
        self.ingress_port = free_port()
        self.ingress = Ingress(self.ingress_port)
        self.core_info = {"version": "2026.11.0", "port": 8123, "ssl": False, "ip_address": "172.30.32.1"}
        self.mqtt = None  # what an app with a broker offers
        self.core_up, self.calls, self.restarts, self.dropped = True, [], 0, []
        # The app that it has started; and by "POST /addons/self/restart": "not ready", "401", "403", "502", "reset", seconds of silence
        self.app, self.faults = None, {}
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.runner, self.sockets = None, set()

    def start(self):
        if not self.thread.is_alive():
            self.thread.start()
        self._run(self._listen())
        return self

    def stop(self):
        """Refuse connections, as while the Supervisor itself starts."""
        self._run(self._close())

    def close(self):
        self.stop()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)

    def core_state(self, up):
        """Whether Core runs; when it stops, the proxy's sockets close."""
        self.core_up = up
        if not up:
            self._run(self._hang_up())

    def ingress_state(self, up):
        """Whether a browser gets through to the app; open sockets close when it does not."""
        self.ingress.up = up
        if not up:
            self._run(self.ingress.hang_up())

    def merged(self):
        """What is stored over the defaults of config.yaml."""
        return {**app_options.defaults(), **self.options}

    def write_options(self, data):
        """Once, at the app's start."""
        (data / "options.json").write_text(json.dumps(app_options.check(self.merged())[0]))

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

    async def _hang_up(self):
        for ws in list(self.sockets):
            await ws.close()

    async def _listen(self):
        app = web.Application(middlewares=[self._access])
        app.add_routes([
            web.get("/addons/self/info", self._info),
            web.get("/addons/self/options/config", self._options),
            web.post("/addons/self/options", self._set_options),
            web.post("/addons/self/restart", self._restart),
            web.get("/network/info", self._network),
            web.get("/core/info", self._core_info),
            web.get("/services/mqtt", self._mqtt),
            web.get("/core/websocket", self._socket),
            web.get("/core/api/{path:.*}", self._api),
            web.post("/core/api/{path:.*}", self._api),
        ])
        self.runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, self.host, self.port, reuse_address=True).start()
        await self.ingress.listen()

    async def _close(self):
        await self._hang_up()
        await self.ingress.close()
        runner, self.runner = self.runner, None
        if runner:
            await runner.cleanup()

    @web.middleware
    async def _access(self, request, handler):
        self.calls.append(f"{request.method} {request.path}")
        own_way = request.path == "/core/websocket"  # asks for the token in its first frame
        if not own_way and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401, text="401: Unauthorized")
        fault = self.faults.get(f"{request.method} {request.path}")
        if fault == "not ready":
            return web.json_response({"result": "error", "message": "System is not ready with state: setup"}, status=400)
        if fault == "reset":
            request.transport.abort()
            raise ConnectionResetError
        elif isinstance(fault, str):
            return web.Response(status=int(fault), text={"401": "401: Unauthorized", "403": "403: Forbidden", "502": "502: Bad Gateway"}[fault])
        elif fault:
            await asyncio.sleep(fault)
        return await handler(request)

    @staticmethod
    def _ok(data=None):
        return web.json_response({"result": "ok", "data": data or {}})

    async def _info(self, _):
        return self._ok({"slug": "local_virtual_shelly", "version": "0.1.0", "state": "started", "network": self.network,
                         "options": self.merged(), "ingress_port": self.ingress_port, "ip_address": "172.30.32.1", "rating": 7})

    async def _options(self, _):
        return self._ok(self.merged())

    async def _set_options(self, request):
        try:
            self.options, dropped = app_options.check((await request.json())["options"])
        except app_options.Refused as error:
            return web.json_response({"result": "error", "message": str(error)}, status=400)
        self.dropped += dropped
        return self._ok()

    async def _restart(self, _):
        self.restarts += 1
        if self.app:
            # Nobody is left to hear the answer: the app that asked has ended by then.
            await asyncio.get_running_loop().run_in_executor(None, self.app.restarted)
        return self._ok()

    async def _core_info(self, _):
        if self.core_info is None:
            return web.json_response({"result": "error", "message": "System is not ready"}, status=400)
        return self._ok(self.core_info)

    async def _mqtt(self, _):
        if self.mqtt is None:
            return web.json_response({"result": "error", "message": "Service not enabled"}, status=400)
        return self._ok(self.mqtt)

    async def _network(self, _):
        return self._ok({"interfaces": [
            {"interface": "docker9", "primary": False, "ipv4": {"address": ["172.30.232.1/23"]}},
            {"interface": "lo", "primary": True, "ipv4": {"address": ["127.0.0.1/8"]}},
        ]})

    async def _api(self, request):
        if not self.core_up:
            return web.Response(status=502, text="502: Bad Gateway")
        headers = {"Authorization": f"Bearer {self.core.token}", "Content-Type": "application/json"}
        async with aiohttp.ClientSession(headers=headers) as session:
            url = f"{self.core.url}/api/{request.match_info['path']}"
            async with session.request(request.method, url, data=await request.read() or None) as answer:
                return web.Response(status=answer.status, body=await answer.read(), content_type=answer.content_type)

    async def _socket(self, request):
        if not self.core_up:
            return web.Response(status=502, text="502: Bad Gateway")
        ours = web.WebSocketResponse(heartbeat=30)
        await ours.prepare(request)
        self.sockets.add(ours)
        try:
            await ours.send_json({"type": "auth_required", "ha_version": "2026.11.0"})
            frame = await ours.receive_json(timeout=10)
            if frame.get("access_token") != self.token:
                await ours.send_json({"type": "auth_invalid", "message": "Invalid access"})
                return ours
            await ours.send_json({"type": "auth_ok", "ha_version": "2026.11.0"})
            await self._forward(ours)
        finally:
            self.sockets.discard(ours)
            await ours.close()
        return ours

    async def _forward(self, ours):
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{self.core.url}/api/websocket", max_msg_size=0) as core:
            assert (await core.receive_json())["type"] == "auth_required"
            await core.send_json({"type": "auth", "access_token": self.core.token})
            assert (await core.receive_json())["type"] == "auth_ok"

            async def up():
                async for message in ours:
                    frame = json.loads(message.data)
                    frames = frame if isinstance(frame, list) else [frame]
                    if any(str(one.get("type", "")).startswith(("supervisor/", "hassio/")) for one in frames):
                        await ours.send_json({"id": frame["id"], "type": "result", "success": False, "error": {"code": "unauthorized"}})
                    else:
                        await core.send_str(message.data)

            async def down():
                async for message in core:
                    await ours.send_str(message.data)
            tasks = [asyncio.ensure_future(one()) for one in (up, down)]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
