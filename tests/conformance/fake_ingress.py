"""What lies between a browser and the app's ingress port: Home Assistant Core, then the Supervisor.

As their sources have it (homeassistant/components/hassio/ingress.py, supervisor/api/ingress.py): a prefix with a
token that is cut off on the way, the session's cookie, the headers that both add, `Content-Type` without its
parameters, WebSockets joined frame by frame, and 400 for addresses that look like an attack. The app sees the
Supervisor's own address as peer.
"""
import asyncio
import re
import secrets

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict

from harness import LOCAL, free_port

PEER = "127.0.0.2"  # stands for 172.30.32.2
# A scripted Home Assistant's two users.
ADMINISTRATOR, GUEST = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"
NOT_SENT_ON = {name.lower() for name in (
    hdrs.CONTENT_LENGTH, hdrs.CONTENT_ENCODING, hdrs.TRANSFER_ENCODING, hdrs.SEC_WEBSOCKET_EXTENSIONS, hdrs.SEC_WEBSOCKET_PROTOCOL,
    hdrs.SEC_WEBSOCKET_VERSION, hdrs.SEC_WEBSOCKET_KEY, hdrs.CONNECTION, hdrs.UPGRADE,
    "X-Remote-User-Id", "X-Remote-User-Name", "X-Remote-User-Display-Name")}
NOT_SENT_BACK = {name.lower() for name in (hdrs.TRANSFER_ENCODING, hdrs.CONTENT_LENGTH, hdrs.CONTENT_TYPE, hdrs.CONTENT_ENCODING, hdrs.CONNECTION)}
ATTACK = re.compile(r"\.\./|<script|union.*select.*\(|concat.*\(|=/[a-z0-9_.]+/", re.I)
BUFFERED = 4_194_000


class Ingress:
    """The way to one app. `url` is where its page opens; `seen` are the requests on it."""

    def __init__(self, app_port):
        self.app = f"http://{LOCAL}:{app_port}"
        self.token, self.session = secrets.token_urlsafe(32), secrets.token_hex(64)
        self.prefix = f"/api/hassio_ingress/{self.token}"
        self.port = free_port()
        self.origin = f"http://{LOCAL}:{self.port}"
        self.url = f"{self.origin}{self.prefix}/"
        self.up, self.seen = True, []
        self.visits = []  # the browsers that were opened here
        # Who is logged in in the browser; None: a Supervisor that does not say.
        self.user = ADMINISTRATOR
        self.sockets, self.runner, self.client = set(), None, None

    @property
    def cookie(self):
        """What the frontend gets for a session, for Playwright."""
        return {"name": "ingress_session", "value": self.session, "url": self.origin}

    async def listen(self):
        self.client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(local_addr=(PEER, 0)), auto_decompress=True)
        app = web.Application()
        app.router.add_get("/panel", self._panel)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self.runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self.runner.setup()
        await web.TCPSite(self.runner, LOCAL, self.port, reuse_address=True).start()

    async def close(self):
        await self.hang_up()
        if self.runner:
            await self.runner.cleanup()
            await self.client.close()
        self.runner = None

    async def hang_up(self):
        for ws in list(self.sockets):
            await ws.close()

    async def _panel(self, _):
        """As the frontend shows an app: a frame of the same origin."""
        body = f'<!doctype html><title>Home Assistant</title><link rel="icon" href="data:,"><iframe src="{self.prefix}/" width="900" height="700"></iframe>'
        return web.Response(text=body, content_type="text/html")

    async def _handle(self, request):
        self.seen.append(f"{request.method} {request.path_qs}")
        if not request.path.startswith(self.prefix + "/"):
            return web.Response(status=404, text="404: Not Found")
        if ATTACK.search(request.raw_path):
            return web.Response(status=400, text="400: Bad Request")
        if not self.up:
            return web.Response(status=502, text="502: Bad Gateway")
        if request.cookies.get("ingress_session") != self.session:
            return web.Response(status=401, text="401: Unauthorized")
        target = self.app + request.raw_path[len(self.prefix):]
        headers = self._headers(request)
        try:
            if request.headers.get(hdrs.UPGRADE, "").lower() == "websocket":
                return await self._socket(request, target, headers)
            return await self._page(request, target, headers)
        except aiohttp.ClientError:
            return web.Response(status=502, text="502: Bad Gateway")

    def _headers(self, request):
        headers = CIMultiDict((name, value) for name, value in request.headers.items() if name.lower() not in NOT_SENT_ON)
        headers["X-Hass-Source"] = "core.ingress"
        headers["X-Ingress-Path"] = self.prefix
        headers["X-Forwarded-For"] = f"{request.remote}, 172.30.32.1"
        headers["X-Forwarded-Host"] = request.host
        headers["X-Forwarded-Proto"] = request.scheme
        if self.user:
            headers.update({"X-Remote-User-Id": self.user, "X-Remote-User-Name": "fixture", "X-Remote-User-Display-Name": "Fixture"})
        return headers

    async def _page(self, request, target, headers):
        async with self.client.request(request.method, target, headers=headers, data=await request.read(), allow_redirects=False,
                                       timeout=aiohttp.ClientTimeout(total=None)) as answer:
            kept = CIMultiDict((name, value) for name, value in answer.headers.items() if name.lower() not in NOT_SENT_BACK)
            kind = answer.headers.get(hdrs.CONTENT_TYPE, "application/octet-stream").partition(";")[0]
            if (answer.content_length or BUFFERED) < BUFFERED or answer.status in (204, 304):
                return web.Response(status=answer.status, headers=kept, content_type=kind, body=await answer.read())
            stream = web.StreamResponse(status=answer.status, headers=kept)
            stream.content_type = kind
            await stream.prepare(request)
            async for chunk in answer.content.iter_any():
                await stream.write(chunk)
            return stream

    async def _socket(self, request, target, headers):
        protocols = [p.strip() for p in request.headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL, "").split(",") if p.strip()]
        async with self.client.ws_connect(target, headers=headers, protocols=protocols, autoclose=False, autoping=False) as theirs:
            ours = web.WebSocketResponse(protocols=protocols, autoclose=False, autoping=False)
            await ours.prepare(request)
            self.sockets.add(ours)
            if not self.up:  # it went while this one was being opened
                await ours.close()

            async def forward(one, other):
                async for message in one:
                    if message.type is aiohttp.WSMsgType.TEXT:
                        await other.send_str(message.data)
                    elif message.type is aiohttp.WSMsgType.BINARY:
                        await other.send_bytes(message.data)
                    elif message.type is aiohttp.WSMsgType.PING:
                        await other.ping(message.data)
                    elif message.type is aiohttp.WSMsgType.PONG:
                        await other.pong(message.data)
            tasks = [asyncio.ensure_future(forward(*way)) for way in ((ours, theirs), (theirs, ours))]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                self.sockets.discard(ours)
                await ours.close()
        return ours
