"""A reader that behaves, in a process of its own: it asks every channel over and over, from its own address, and says how long each answer took.

`python good_reader.py '{"source": …, "http": port, "modbus": port, "udp": port, "floor": port}'`; it says `ready` once every channel has answered,
reads until standard input closes, and then prints one line of JSON: for each channel the answers' times in ms, and what failed.
Sockets and nothing else, so that what is measured is the meter and not a client library.
"""
import base64
import json
import os
import select
import socket
import struct
import sys
import time

LOCAL = "127.0.0.1"
PAUSE = 0.02
# Seconds after which an answer is given up.
PATIENCE = 10.0
EM = b"GET /rpc/EM.GetStatus?id=0 HTTP/1.1\r\nHost: meter.local\r\nConnection: keep-alive\r\n\r\n"


def connected(source, port, kind=socket.SOCK_STREAM):
    s = socket.socket(socket.AF_INET, kind)
    s.bind((source, 0))
    s.settimeout(PATIENCE)
    s.connect((LOCAL, port))
    if kind == socket.SOCK_STREAM:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def read_until(s, enough):
    data = b""
    while not enough(data):
        more = s.recv(65536)
        if not more:
            raise ConnectionError("closed")
        data += more
    return data


def whole_http(data):
    head, mark, body = data.partition(b"\r\n\r\n")
    if not mark:
        return False
    length = next((int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")), 0)
    return len(body) >= length


class Http:
    """A new connection each tenth time, else the one that is kept alive."""

    def __init__(self, source, port):
        self.source, self.port, self.socket, self.asked = source, port, None, 0

    def ask(self):
        self.asked += 1
        if self.socket is None or self.asked % 10 == 0:
            if self.socket:
                self.socket.close()
            self.socket = None
            self.socket = connected(self.source, self.port)
        self.socket.sendall(EM)
        answer = read_until(self.socket, whole_http)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise ValueError(answer[:40].decode(errors="replace"))

    def again(self):
        self.socket = None


class WebSocket:
    def __init__(self, source, port):
        self.source, self.port, self.socket, self.rest = source, port, None, b""

    def again(self):
        self.socket = None

    def ask(self):
        if self.socket is None:
            s = connected(self.source, self.port)
            key = base64.b64encode(os.urandom(16))
            s.sendall(b"GET /rpc HTTP/1.1\r\nHost: meter.local\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                      b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n")
            head, _, self.rest = read_until(s, lambda d: b"\r\n\r\n" in d).partition(b"\r\n\r\n")
            if b" 101 " not in head.split(b"\r\n")[0]:
                raise ValueError(head[:40].decode(errors="replace"))
            self.socket = s
        text = b'{"id":1,"method":"EM.GetStatus","params":{"id":0}}'
        mask = os.urandom(4)
        self.socket.sendall(bytes([0x81, 0x80 | len(text)]) + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(text)))
        while b'"id":1,' not in self.frame():
            pass

    def frame(self):
        def need(n):
            while len(self.rest) < n:
                more = self.socket.recv(65536)
                if not more:
                    raise ConnectionError("closed")
                self.rest += more
        need(2)
        length, start = self.rest[1] & 0x7F, 2
        if length == 126:
            need(4)
            length, start = struct.unpack(">H", self.rest[2:4])[0], 4
        need(start + length)
        frame, self.rest = self.rest[start:start + length], self.rest[start + length:]
        return frame


class Udp:
    def __init__(self, source, port):
        self.socket = connected(source, port, socket.SOCK_DGRAM)

    def again(self):
        """A late answer must not be taken for the next one's."""
        while select.select([self.socket], [], [], 0)[0]:
            self.socket.recv(65536)

    def ask(self):
        self.socket.send(b'{"id":1,"method":"EM.GetStatus","params":{"id":0}}')
        self.socket.recv(65536)


class Modbus:
    def __init__(self, source, port):
        self.source, self.port, self.socket = source, port, None

    def again(self):
        self.socket = None

    def ask(self):
        if self.socket is None:
            self.socket = connected(self.source, self.port)
        self.socket.sendall(struct.pack(">HHHBBHH", 1, 0, 6, 1, 4, 1013, 2))
        answer = read_until(self.socket, lambda d: len(d) >= 9)
        if answer[7] != 4:
            raise ValueError(f"exception {answer[8]}")


def main():
    plan = json.loads(sys.argv[1])
    source = plan["source"]
    kinds = {"http": Http, "websocket": WebSocket, "udp": Udp, "modbus": Modbus, "floor": Http}
    ports = {**plan, "websocket": plan["http"]}
    channels = {name: kind(source, ports[name]) for name, kind in kinds.items() if ports.get(name)}
    took, failed = {name: [] for name in channels}, {name: {} for name in channels}
    ready = False
    while not select.select([sys.stdin], [], [], PAUSE)[0]:
        for name, channel in channels.items():
            began = time.perf_counter()
            try:
                channel.ask()
                took[name].append(round((time.perf_counter() - began) * 1000, 3))
            except (OSError, ValueError, IndexError) as e:
                why = str(e) or type(e).__name__
                failed[name][why] = failed[name].get(why, 0) + 1
                channel.again()
        if not ready and all(took.values()):
            ready = True
            took = {name: [] for name in channels}
            print("ready", flush=True)
    print(json.dumps({"took": took, "failed": failed}), flush=True)


main()
