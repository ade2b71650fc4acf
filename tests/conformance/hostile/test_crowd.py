"""Strangers hold connections or ask without a pause, from more addresses than one host should have: who reads stays, and is answered."""
import contextlib
import os
import socket
import struct
import subprocess
import time

import pytest

from conftest import reading
from harness import LOCAL
from test_starved import in_use, sockets  # noqa: F401: a fixture

GET = b"GET /rpc/EM.GetStatus?id=0 HTTP/1.1\r\nHost: meter.local\r\nConnection: keep-alive\r\n\r\n"
# A network in which every address is this host's own, while the test runs.
NETWORK = "fd53:4845:4c4c:5900"
IPV6_FREEBIND = 78
PER_ADDRESS, MAX_CONNECTIONS, RATE = 64, 1024, 100


def answered(s):
    """The status of the answer on this connection; None when it was closed."""
    data = b""
    try:
        while b"\r\n\r\n" not in data:
            more = s.recv(65536)
            if not more:
                return None
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        while len(body) < length:
            body += s.recv(65536)
    except OSError:
        return None
    return int(data.split(b" ", 2)[1])


def until_said(s, answers):
    """What comes on this connection until so many answers have."""
    said = b""
    while said.count(b"HTTP/1.1 ") < answers and (more := s.recv(65536)):
        said += more
    return said


def is_open(s):
    s.setblocking(False)
    try:
        return s.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


@pytest.fixture
def network():
    """IPv6 addresses without end on this host."""
    route = ["ip", "-6", "route", "{}", "local", f"{NETWORK}::/56", "dev", "lo"]
    if os.geteuid() != 0 or not socket.has_ipv6:
        pytest.skip("only root can add a network")
    try:
        subprocess.run([part.format("add") for part in route], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as e:
        pytest.skip(f"no IPv6 network can be added here: {e}")
    yield lambda subnet, n: f"{NETWORK[:-2]}{subnet:02x}::{n + 1:x}"
    subprocess.run([part.format("del") for part in route], check=True)


def test_a_whole_ipv6_network_is_one_stranger(new_meter, fake_ha, network, row):
    """Each connection from another address of one /64, all of them working readers by their looks."""
    fake_ha.set("sensor.grid", "512")
    meter = new_meter({"total_power": "sensor.grid"}, ha=fake_ha)
    meter.bind = None
    meter.start()
    meter.until_total(512, 5)
    with contextlib.ExitStack() as stack:
        def connect(subnet, n):
            s = stack.enter_context(socket.socket(socket.AF_INET6))
            s.settimeout(10)
            s.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
            s.bind((network(subnet, n), 0))
            s.connect((network(0, 0), meter.http_port))
            return s
        quiet = [connect(subnet, 0) for subnet in (1, 2, 3)]
        for s in quiet:
            s.sendall(GET)
            assert answered(s) == 200
        with reading(meter) as good:
            crowd = [connect(9, n) for n in range(400)]
            statuses = {}
            for s in crowd:
                with contextlib.suppress(OSError):
                    s.sendall(GET)
                status = answered(s)
                statuses[status] = statuses.get(status, 0) + 1
            held = sum(is_open(s) for s in crowd)
            # Four of another /64 ask without a pause, each from an address of its own: together they have the rate of one.
            began, floods = time.monotonic(), [connect(10, n) for n in range(4)]
            for s in floods:
                s.sendall(GET * 150)
            said = b"".join(until_said(s, 150) for s in floods)
            seconds, served, refused = time.monotonic() - began, said.count(b"HTTP/1.1 200"), said.count(b"HTTP/1.1 429")
        row(no=10, case="400 readers of one IPv6 /64, then 600 requests at once of another", **good.cells(),
            note=f"{held} connections held; {served} answered in {seconds:.1f} s, {refused} refused")
        good.check()
        assert held <= PER_ADDRESS, f"one /64 holds {held}"
        assert refused and served <= RATE * (seconds + 1), (served, refused, seconds)
        for s in quiet:
            s.sendall(GET)
            assert answered(s) == 200, "who read quietly from another network was closed"


def http(s):
    s.sendall(GET)
    return answered(s) == 200


def page(s):
    s.sendall(b"GET /live.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return answered(s) == 200


def modbus(s):
    s.sendall(struct.pack(">HHHBBHH", 1, 0, 6, 1, 4, 1013, 2))
    with contextlib.suppress(OSError):
        return s.recv(260)[7:9] == bytes([4, 4])


@pytest.mark.parametrize(("name", "ask", "room"), [("http", http, MAX_CONNECTIONS), ("modbus", modbus, MAX_CONNECTIONS), ("dashboard", page, 256)])
def test_who_reads_is_not_closed_for_strangers(in_use, long, strict, name, ask, room, row):  # noqa: F811
    """More strangers than there is room for, from thousands of addresses: readers that asked once and wait keep their connection."""
    _, meter = in_use
    port = getattr(meter, f"{name}_port")
    count = (6 if long else 2) * room
    with sockets() as connect:
        quiet = [connect(port, f"127.0.0.{n}") for n in range(40, 50)]
        assert all(map(ask, quiet))
        with reading(meter) as good:
            strangers = []
            for n in range(count):
                with contextlib.suppress(OSError):
                    # Some say nothing, some begin a request and do not end it.
                    strangers.append(connect(port, f"127.{1 + n // 250 % 250}.9.{1 + n % 250}", b"" if n % 2 else GET[:9]))
                if len(strangers) > room:
                    strangers.pop(0).close()
            time.sleep(3 if strict else 0.5)  # so many answers that one is no percentile
        kept = sum(map(is_open, quiet))
        row(no=10, case=f"{count} strangers of as many addresses that complete nothing ({name})", **good.cells(), note=f"{kept} of 10 idle readers kept")
        good.check()
        assert kept == len(quiet), "a reader was closed for a stranger"
        for s in quiet:
            s.setblocking(True)
            assert ask(s)
