"""A page of somebody else in a real Chromium, open at home: it may read the meter, as a device's, and change nothing."""
import contextlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import pytest

from browser import PATIENCE, chromium
from harness import LOCAL

ELSEWHERE = "127.0.0.2"
# To an address without https Chromium says neither Origin nor Sec-Fetch-Site, but loopback counts as safe; a name does not.
NAMES = ["meter.lan", "evil.example"]


@pytest.fixture(scope="module")
def browser():
    rules = ", ".join(f"MAP {name} {LOCAL}" for name in NAMES)
    with chromium(f"--host-resolver-rules={rules}", "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests") as one:
        yield one


@contextlib.contextmanager
def foreign_page():
    class Empty(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>somebody else's</title><body>")

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer((ELSEWHERE, 0), Empty)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{ELSEWHERE}:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


BY_GET = {
    "image": "url => { new Image().src = url }",
    "frame": "url => { const f = document.createElement('iframe'); f.src = url; document.body.append(f) }",
    "script": "url => { const s = document.createElement('script'); s.src = url; document.body.append(s) }",
    "style": "url => { const l = document.createElement('link'); l.rel = 'stylesheet'; l.href = url; document.head.append(l) }",
    "fetch": "url => { fetch(url, {mode: 'no-cors'}).catch(() => {}) }",
    "fetch-named": "url => { fetch(url, {headers: {'User-Agent': 'curl/8.0', 'X-Any': '1'}}).catch(() => {}) }",
    "fetch-silent": "url => { fetch(url, {mode: 'no-cors', referrerPolicy: 'no-referrer', credentials: 'omit'}).catch(() => {}) }",
    "window": "url => { window.open(url, '_blank', 'noopener') }",
    "link": "url => { const a = document.createElement('a'); a.href = url; a.rel = 'noreferrer'; document.body.append(a); a.click() }",
}
FORM = """([url, name]) => { const f = document.createElement('form'); f.method = 'POST'; f.action = url; f.enctype = 'text/plain';
    const i = document.createElement('input'); i.name = name; i.value = ''; f.append(i); document.body.append(f); f.submit() }"""
POST = """async ([url, body, type]) => { await fetch(url, {method: 'POST', mode: 'no-cors', body, headers: {'Content-Type': type}}).catch(() => {}) }"""
SOCKET = """([url, body]) => new Promise(done => { const s = new WebSocket(url);
    s.onopen = () => s.send(body); s.onmessage = m => { done(m.data); s.close() }; s.onerror = () => done('closed') })"""


@pytest.mark.parametrize("host", [LOCAL, NAMES[0]])
def test_a_foreign_page_changes_nothing(demo, browser, host):
    meter = f"http://{host}:{demo.http_port}"
    frame = lambda key: json.dumps({"id": 1, "src": "page", "method": "KVS.Set", "params": {"key": key, "value": 1}})  # noqa: E731
    with foreign_page() as url:
        for how, script in BY_GET.items():
            context = browser.new_context()
            page = context.new_page()
            page.goto(url)
            ended = []
            # what is no image or script is withheld from the page after it came: a failure to the page, and no status
            context.on("response", lambda r: ended.append((r.url, r.status)))  # noqa: B023
            context.on("requestfailed", lambda r: ended.append((r.url, None)))  # noqa: B023
            page.evaluate(script, f"{meter}/rpc/KVS.Set?key={quote(json.dumps(how))}&value=1")
            answers = lambda: [status for at, status in ended if "KVS.Set" in at]  # noqa: B023, E731
            deadline = time.monotonic() + PATIENCE / 1000
            while not answers() and time.monotonic() < deadline:
                page.wait_for_timeout(20)
            assert answers() and set(answers()) <= {403, None}, f"{how}: {ended}"
            context.close()
        context = browser.new_context()
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        for kind in ("text/plain", "application/x-www-form-urlencoded"):
            page.goto(url)
            with context.expect_event("response", lambda r: r.url.endswith("/rpc") and r.request.method == "POST"):
                page.evaluate(POST, [f"{meter}/rpc", frame(kind), kind])
        with context.expect_event("response", lambda r: r.url.endswith("/rpc") and r.request.method == "POST"):
            page.evaluate(FORM, [f"{meter}/rpc", frame("form")[:-1] + ',"x":"'])
        page.wait_for_url(f"{meter}/rpc")
        page.goto(url)
        said = page.evaluate(SOCKET, [meter.replace("http", "ws") + "/rpc", frame("socket")])
        assert said == "closed" or json.loads(said)["error"]["code"] == 403, said
        # reading is what the device allows every page
        power = page.evaluate("url => fetch(url).then(r => r.json())", f"{meter}/rpc/EM.GetStatus?id=0")
        assert "total_act_power" in power
        context.close()
    assert demo.rpc("KVS.List")["keys"] == {}
    assert demo.rpc("KVS.Set", {"key": "program", "value": 1})["etag"], "programs change things as before"


def test_a_name_made_to_point_here_changes_nothing(demo, browser):
    """DNS rebinding: to its browser the page is of the meter's own origin."""
    context = browser.new_context()
    page = context.new_page()
    write = """() => fetch('/rpc/KVS.Set', {method: 'POST', body: JSON.stringify({key: 'k', value: 1}),
        headers: {'Content-Type': 'application/json'}}).then(r => r.status)"""
    page.goto(f"http://{NAMES[1]}:{demo.http_port}/")
    assert page.evaluate(write) == 403
    assert page.evaluate("() => fetch('/rpc/KVS.Set?key=\"k\"&value=1').then(r => r.status)") == 403
    for host in (LOCAL, NAMES[0]):
        page.goto(f"http://{host}:{demo.http_port}/")
        assert page.evaluate(write) == 200, f"the meter's own page at {host} may"
    context.close()
