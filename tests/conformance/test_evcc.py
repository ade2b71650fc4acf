"""evcc's calls, with its odd bodies: a whole frame posted to /rpc/<Method>, a bare result expected."""
import hashlib
import re
import secrets

from harness import near


class Evcc:
    """meter/shelly of evcc: device info first, then generation 2 calls."""

    def __init__(self, meter, password=None):
        self.meter, self.password, self.challenge = meter, password, None
        info = meter.get("/shelly").json()
        assert info["gen"] == 2 and info["auth_en"] is (password is not None) and info["model"] and info["mac"]

    def exec(self, method):
        """execCmd: `{"id":0,"src":"evcc","method":…}` to /rpc/<Method>; the reply is the bare result."""
        path = f"/rpc/{method}"
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.password is not None:
            first = self.meter.post(path, {"id": 0, "src": "evcc", "method": method}, headers=headers)
            assert first.status == 401
            headers["Authorization"] = self.digest(first.headers["www-authenticate"], path)
        answer = self.meter.post(path, {"id": 0, "src": "evcc", "method": method}, headers=headers)
        assert answer.status == 200, answer
        return answer.json()

    def digest(self, challenge, uri):
        part = dict(re.findall(r'(\w+)="?([^",]+)"?', challenge.removeprefix("Digest ")))
        sha, cnonce = lambda s: hashlib.sha256(s.encode()).hexdigest(), secrets.token_hex(8)
        ha1, ha2 = sha(f"admin:{part['realm']}:{self.password}"), sha(f"POST:{uri}")
        response = sha(f"{ha1}:{part['nonce']}:00000001:{cnonce}:auth:{ha2}")
        return (f'Digest username="admin", realm="{part["realm"]}", nonce="{part["nonce"]}", uri="{uri}", cnonce="{cnonce}", '
                f'nc=00000001, qop=auth, response="{response}", algorithm=SHA-256')

    def set_up(self):
        methods = self.exec("Shelly.ListMethods")["methods"]
        assert {"EM.GetStatus", "EMData.GetStatus"} <= set(methods)
        assert not {"EM1.GetStatus", "Switch.GetStatus", "PM1.GetStatus", "ProOutputAddon.GetPeripherals"} & set(methods)


def test_grid_meter(replay):
    meter = replay(400.5, -100.0, 11.5)
    evcc = Evcc(meter)
    evcc.set_up()
    status = evcc.exec("EM.GetStatus")
    assert near(status["total_act_power"], 312)
    assert [status[f"{p}_act_power"] for p in "abc"] == [400.5, -100.0, 11.5]
    assert near(status["a_current"], 400.5 / 230, 0.001) and near(status["b_current"], 100 / 230, 0.001)
    assert all(status[f"{p}_voltage"] == 230.0 for p in "abc")
    energy = evcc.exec("EMData.GetStatus")
    assert energy["total_act"] >= 0 and energy["total_act_ret"] >= 0 and "id" in energy


def test_with_password(new_meter):
    meter = new_meter({"auth_password": "geheim"}, args=["--source", "demo"]).start()
    evcc = Evcc(meter, "geheim")
    evcc.set_up()
    assert evcc.exec("EM.GetStatus")["id"] == 0
