"""Somebody wants in, or wants to be believed: writes in a browser's name, forged lines, marks that turn text round."""
import base64
import contextlib
import json
import os
import socket
import struct

from harness import LOCAL, fetch, until

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
# What gives a browser away; each must be enough, whatever stands beside it.
SIGNS = {
    "agent": f"User-Agent: {BROWSER}\r\n",
    "small": f"user-agent:  {BROWSER}\r\n",
    "behind": f"User-Agent: curl/8.0\r\nUser-Agent: {BROWSER}\r\n",
    "before": f"User-Agent: {BROWSER}\r\nUser-Agent: curl/8.0\r\n",
    "null": "Origin: null\r\n",
    "empty": "Origin: \r\n",
    "origin": "Origin: http://evil.example\r\n",
    "twice": "Origin: http://{own}\r\nOrigin: http://evil.example\r\n",
    "mode": "Sec-Fetch-Mode: no-cors\r\n",
    "site": "Sec-Fetch-Site: cross-site\r\n",
    "mixed": "Sec-Fetch-Site: same-origin\r\nOrigin: http://evil.example\r\n",
    "referer": "Referer: http://evil.example/\r\n",
}
EVIL = "a\n2026-01-01T00:00:00Z ERROR forged\r\n\x1b[31m\u202eX\u2066\x00\x85\u2028"
MISLEADING = "\x1b\x00\x85\r\u202e\u2066\u2028"


def raw(port, data):
    """What comes back until the other side closes or says nothing more."""
    with socket.create_connection((LOCAL, port), 5) as s:
        s.settimeout(2)
        s.sendall(data)
        answer = b""
        with contextlib.suppress(OSError):
            while more := s.recv(65536):
                answer += more
        return answer


def by_http(own, sign):
    """Requests that would set the key `k`, in every form that the meter takes."""
    head = f"Host: {own}\r\nConnection: close\r\n{sign.replace('{own}', own)}"
    for target in ("/rpc/KVS.Set?key=k&value=1", "/rpc/kvs.set?key=k&value=1", "/rpc?method=KVS.Set&key=k&value=1", "/rpc/KVS%2ESet?key=k&value=1",
                   "/rpc?method=KVS.Set&params=%7B%22key%22%3A%22k%22%2C%22value%22%3A1%7D", f"http://{own}/rpc/KVS.Set?key=k&value=1"):
        for version in ("1.1", "1.0"):
            yield f"GET {target} HTTP/{version}\r\n{head}\r\n"
    frame = {"id": 1, "method": "KVS.Set", "params": {"key": "k", "value": 1}}
    for path, body in (("/rpc", frame), ("/rpc", [frame]), ("/rpc/KVS.Set", frame["params"])):
        text = json.dumps(body)
        for kind in ("text/plain", "application/json", "application/x-www-form-urlencoded"):
            yield f"POST {path} HTTP/1.1\r\n{head}Content-Type: {kind}\r\nContent-Length: {len(text)}\r\n\r\n{text}"


def by_websocket(port, sign):
    own = f"{LOCAL}:{port}"
    with socket.create_connection((LOCAL, port), 5) as s:
        s.settimeout(2)
        key = base64.b64encode(os.urandom(16)).decode()
        s.sendall((f"GET /rpc HTTP/1.1\r\nHost: {own}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                   f"Sec-WebSocket-Key: {key}\r\n{sign.replace('{own}', own)}\r\n").encode())
        text = json.dumps({"id": 77, "src": "x", "method": "KVS.Set", "params": {"key": "k", "value": 1}}).encode()
        s.sendall(bytes([0x81, 0x80 | len(text)]) + bytes(4) + text)
        said = b""
        with contextlib.suppress(OSError):
            while b'"id":77' not in said and (more := s.recv(65536)):
                said += more
        return said


def test_no_form_of_a_request_writes_for_a_browser(new_meter, row):
    meter = new_meter({"rate_limit": 0}, args=["--source", "demo"]).start()
    own, tried = f"{LOCAL}:{meter.http_port}", 0
    for name, sign in SIGNS.items():
        for request in by_http(own, sign):
            raw(meter.http_port, request.encode())
            tried += 1
        for port in (meter.http_port, meter.ws_port):
            by_websocket(port, sign)
            tried += 1
        assert not meter.rpc("KVS.List")["keys"], f"a page of a stranger wrote ({name})"
    # The same without the sign is a program's, and writes: what was tried was right.
    assert raw(meter.http_port, next(by_http(own, "")).encode()).startswith(b"HTTP/1.1 200")
    row(no=1, case=f"requests with one of {len(SIGNS)} signs of a browser", note=f"{tried} tried, none wrote")


def test_texts_of_others_stay_one_line_and_turn_nothing_round(new_meter, fake_ha, row):
    """Names, states, methods, senders, addresses and headers that hold line ends, escape sequences and marks."""
    fake_ha.set("sensor.grid", "512", friendly_name=EVIL)
    meter = new_meter({"total_power": "sensor.grid", "log_level": "trace"}, ha=fake_ha).start()
    meter.until_total(512, 5)
    for method, params in (("Sys.SetConfig", {"config": {"device": {"name": EVIL}}}), ("KVS.Set", {"key": "k", "value": EVIL}), (EVIL, {}),
                           ("Ws.SetConfig", {"config": {"server": "ws://x/" + EVIL, "enable": True}}), ("EM.SetConfig", {"id": 0, "config": {"name": EVIL}}),
                           ("Shelly.SetAuth", {"user": "admin", "realm": EVIL, "ha1": None})):
        frame = {"id": 1, "src": EVIL, "method": method, "params": params}
        meter.post("/rpc", frame)
        meter.udp(frame, timeout=0.2)
    raw(meter.http_port, b"GET /\x1b[31m%0aforged HTTP/1.1\r\nHost: x\xe2\x80\xae\r\nUser-Agent: a\xe2\x80\xaeb\x1b[31m\r\n\r\n")
    fake_ha.set("sensor.grid", EVIL)
    until(lambda: "forged" in meter.log(), 10, "the log names what came")
    texts = {"log": meter.log()}
    for path in ("/", "/health", "/readers", "/energy", "/settings", "/setup"):
        texts[path] = fetch(meter.dashboard_port, "GET", path).text
    fake_ha.set("sensor.grid", "512", unit_of_measurement=EVIL)
    until(lambda: "forged" in fetch(meter.dashboard_port, "GET", "/health").text, 10)
    texts["health, a unit"], texts["log"] = fetch(meter.dashboard_port, "GET", "/health").text, meter.log()
    for where, text in texts.items():
        found = [c for c in MISLEADING if c in text]
        assert not found, (where, found, text[max(0, text.index(found[0]) - 100):text.index(found[0]) + 40])
    assert all(line[:4].isdigit() and line[4] == "-" for line in texts["log"].splitlines()), "a line of the log is not the log's"
    row(no=4, case="texts of others in log and pages", note=f"{len(texts)} places")


def test_a_password_guards_changes_on_every_channel(new_meter, row):
    meter = new_meter({"auth_password": "s3cret", "modbus_reset": True}, args=["--source", "demo"]).start()
    realm = meter.info()["id"]
    calls = [("KVS.Set", {"key": "a", "value": 1}), ("EMData.ResetCounters", {"id": 0}), ("Shelly.Reboot", {}), ("kvs.set", {"key": "a", "value": 1}),
             ("Shelly.SetAuth", {"user": "admin", "realm": realm, "ha1": None}), ("Modbus.SetConfig", {"config": {"enable": False}}),
             ("Sys.SetConfig", {"config": {"device": {"name": "z"}}}), ("Ws.SetConfig", {"config": {"server": "ws://192.0.2.1/", "enable": True}})]
    for method, params in calls:
        frame = {"id": 1, "method": method, "params": params}
        for body in (frame, [frame]):
            answer = meter.udp(body, timeout=0.3)
            assert answer is None or '"code":401' in answer, (method, answer)
            assert meter.post("/rpc", body).status == 401 or '"code":401' in meter.post("/rpc", body).text, method
        assert meter.post(f"/rpc/{method}", params).status == 401, method
        assert b'"code":401' in websocket_call(meter.http_port, frame), method
    counted = meter.udp({"id": 1, "method": "EMData.GetStatus", "params": {"id": 0}})
    with socket.create_connection((LOCAL, meter.modbus_port), 5) as s:
        s.sendall(struct.pack(">HHHBBHH", 1, 0, 6, 1, 6, 4200, 1))
        s.recv(260)
    after = meter.udp({"id": 1, "method": "EMData.GetStatus", "params": {"id": 0}})
    assert json.loads(after)["result"]["total_act"] >= json.loads(counted)["result"]["total_act"], "reset by Modbus"
    assert meter.info()["name"] is None and meter.info()["auth_en"]
    row(no=3, case="changes without the password", note=f"{len(calls)} methods on HTTP, WebSocket, UDP; Modbus 4200")


def websocket_call(port, frame):
    with socket.create_connection((LOCAL, port), 5) as s:
        s.settimeout(5)
        s.sendall((f"GET /rpc HTTP/1.1\r\nHost: {LOCAL}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                   f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n\r\n").encode())
        text = json.dumps(frame).encode()
        length = bytes([0x80 | len(text)]) if len(text) < 126 else bytes([0x80 | 126]) + struct.pack(">H", len(text))
        s.sendall(b"\x81" + length + bytes(4) + text)
        said = b""
        while b'"id":1,' not in said and (more := s.recv(65536)):
            said += more
        return said
