"""The life of a password: set by RPC or option, asked for by curl, dead under another id, forgotten."""
import hashlib
import json
import shutil
import subprocess

import pytest
from harness import LOCAL

DEMO = ["--source", "demo"]


def set_auth(meter, password):
    realm = meter.info()["id"]
    ha1 = password and hashlib.sha256(f"admin:{realm}:{password}".encode()).hexdigest()
    return {"user": "admin", "realm": realm, "ha1": ha1}


def curl(meter, path, *arguments, password="s3cret"):
    """Status and body of a call by curl with digest."""
    command = ["curl", "-sS", "-g", "--max-time", "10", "--digest", "-u", f"admin:{password}", "-w", "\n%{http_code}", *arguments]
    text = subprocess.run([*command, f"http://{LOCAL}:{meter.http_port}{path}"], capture_output=True, text=True, check=True).stdout
    body, _, status = text.rpartition("\n")
    return int(status), body


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl")
def test_curl(new_meter):
    meter = new_meter({"auth_password": "s3cret"}, args=DEMO).start()
    frame = json.dumps({"id": 1, "src": "me", "method": "EM.GetCTTypes", "params": {"id": 0}})
    status, body = curl(meter, "/rpc", "-d", frame)
    assert status == 200 and json.loads(body)["result"] == {"supported": ["120A"]}
    status, body = curl(meter, "/rpc/EM.GetCTTypes", "-d", '{"id":0}')
    assert status == 200 and json.loads(body) == {"supported": ["120A"]}
    assert curl(meter, "/rpc/EM.GetCTTypes?id=0")[0] == 200
    for query in ("{}", "%7B%7D", '{"device":{"name":"a|b^c","x":1}}', '{"device":{"name":"Küche"}}'):
        assert curl(meter, f"/rpc/Sys.SetConfig?config={query}")[0] == 200, query
    assert curl(meter, "/emdata/0/data.csv?ts=&end_ts=&add_keys=true")[0] == 200
    assert curl(meter, "/rpc", "-d", frame, password="wrong")[0] == 401


def test_only_who_knows_it_changes_anything_by_udp(new_meter):
    meter = new_meter(args=DEMO).start()
    assert meter.rpc("Shelly.SetAuth", set_auth(meter, "s3cret")) is None
    off = json.loads(meter.udp({"id": 1, "method": "Shelly.SetAuth", "params": set_auth(meter, None)}))
    assert off["error"]["code"] == 401
    read = json.loads(meter.udp({"id": 1, "method": "EM.GetStatus", "params": {"id": 0}}))
    assert "total_act_power" in read["result"], "batteries read on"
    assert meter.info()["auth_en"] and meter.get("/rpc/EM.GetStatus?id=0").status == 401


def test_set_by_rpc_it_ends_with_the_device_id(new_meter):
    meter = new_meter({"mac": "08F9E0123456"}, args=DEMO).start()
    meter.rpc("Shelly.SetAuth", set_auth(meter, "s3cret"))
    assert meter.restart().get("/rpc/EM.GetStatus?id=0").status == 401, "kept over a restart"
    meter.options = {"mac": "08F9E0123457"}
    assert meter.restart().get("/rpc/EM.GetStatus?id=0").status == 200 and not meter.info()["auth_en"]
    said = [line for line in meter.log().splitlines() if "set by RPC" in line]
    assert len(said) == 1 and "shellypro3em-08f9e0123456" in said[0] and "shellypro3em-08f9e0123457" in said[0]
    meter.options = {"mac": "08F9E0123456"}
    assert meter.restart().get("/rpc/EM.GetStatus?id=0").status == 200, "it does not come back"
    assert meter.log().count("set by RPC") == 1


def test_a_forgotten_one_goes_with_the_option(new_meter):
    meter = new_meter(args=DEMO).start()
    meter.rpc("Shelly.SetAuth", set_auth(meter, "forgotten"))
    meter.options = {"auth_password": "s3cret"}
    assert meter.restart().get("/rpc/EM.GetStatus?id=0").status == 401
    meter.options = {}
    assert meter.restart().get("/rpc/EM.GetStatus?id=0").status == 200 and not meter.info()["auth_en"]
