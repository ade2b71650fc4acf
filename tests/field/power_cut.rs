//! What a power cut takes. A process that is killed stands for it: what it had counted and not kept
//! is gone as well.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    common::free_port,
    start::{self, Ended, demo},
};

struct Meter {
    /// Killed with it.
    _process: Ended,
    http: u16,
    modbus: u16,
}

impl Meter {
    /// 3.6 kW in, 0.9 kW out on another phase: 1 Wh and 0.25 Wh a second.
    fn start(folder: &Path) -> Self {
        let power = folder.join("power.csv");
        if !power.exists() {
            let mut text = String::from("ts,a,b,c\n");
            for ts in 0..3_600 {
                writeln!(text, "{ts},3600,-900,100").unwrap();
            }
            std::fs::write(&power, text).unwrap();
        }
        let (http, modbus) = (free_port(), free_port());
        let process = demo(folder, http)
            .env("VIRTUAL_SHELLY_SOURCE", "replay")
            .env("MODBUS_ENABLE", "true")
            .args(["--store-interval", "10", "--modbus-port"])
            .args([modbus.to_string(), "--replay-file".to_owned()])
            .arg(power)
            .stderr(Stdio::null())
            .spawn();
        Self {
            _process: Ended(process.unwrap()),
            http,
            modbus,
        }
    }

    fn get(&self, path: &str) -> Option<Value> {
        let text = start::get(self.http, path).ok()?;
        serde_json::from_str(text.split_once("\r\n\r\n")?.1).ok()
    }

    /// Registers of function 4, as 32-bit floats.
    fn floats(&self, address: u16, count: u16) -> Option<Vec<f32>> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.modbus)).ok()?;
        let patience = Some(Duration::from_secs(10));
        stream.set_read_timeout(patience).ok()?;
        let mut ask = vec![0, 1, 0, 0, 0, 6, 1, 4];
        ask.extend(
            address
                .to_be_bytes()
                .into_iter()
                .chain((count * 2).to_be_bytes()),
        );
        stream.write_all(&ask).ok()?;
        let mut answer = vec![0; 9 + usize::from(count) * 4];
        stream.read_exact(&mut answer).ok()?;
        assert_eq!(answer[7..9], [4, (count * 4) as u8]);
        Some(
            answer[9..]
                .chunks_exact(4)
                .map(|b| f32::from_be_bytes([b[2], b[3], b[0], b[1]]))
                .collect(),
        )
    }

    /// Every energy figure of every channel by name, and the minutes that are listed; none while it
    /// is not served yet.
    fn counters(&self) -> Option<BTreeMap<String, f64>> {
        let mut all = BTreeMap::new();
        let mut take = |channel: &str, status: &Value| {
            let members = status.as_object()?;
            let energy = members.iter().filter(|(name, _)| {
                name.ends_with("act_energy")
                    || name.ends_with("act_ret_energy")
                    || name.ends_with("act")
                    || name.ends_with("act_ret")
            });
            for (name, value) in energy {
                all.insert(format!("{channel} {name}"), value.as_f64()?);
            }
            Some(())
        };
        take("EMData.GetStatus", &self.get("/rpc/EMData.GetStatus?id=0")?)?;
        take(
            "Shelly.GetStatus",
            &self.get("/rpc/Shelly.GetStatus")?["emdata:0"],
        )?;
        let modbus = [(1162, 2), (1182, 2), (1202, 2), (1222, 2)];
        for (address, count) in modbus {
            let values = self.floats(address, count)?;
            all.extend(
                values
                    .iter()
                    .enumerate()
                    .map(|(i, v)| (format!("register {address} + {}", 2 * i), f64::from(*v))),
            );
        }
        let records = self.get("/rpc/EMData.GetData?id=0&ts=0")?;
        let mut energy = 0.0;
        for block in records["data"].as_array()? {
            for row in block["values"].as_array()? {
                energy += row[0].as_f64()?;
            }
        }
        all.insert("recorded energy of phase A".into(), energy);
        Some(all)
    }

    fn once_served(&self) -> BTreeMap<String, f64> {
        let began = Instant::now();
        loop {
            if let Some(counters) = self.counters() {
                return counters;
            }
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "the meter does not answer: {:?} {:?}",
                self.get("/rpc/Shelly.GetStatus"),
                self.floats(1162, 2)
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Kills and starts a meter so often; how far its counter came.
fn lane(rounds: u64, mut random: fastrand::Rng) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let mut last = BTreeMap::new();
    for round in 0..rounds {
        let meter = Meter::start(folder.path());
        let mut now = meter.once_served();
        assert!(now.len() >= 23, "{now:?}");
        // Long enough that some rounds see commits, some are cut right after one, and some before
        // the first.
        let begin = Instant::now();
        let cut = Duration::from_millis(random.u64(0..13_000));
        loop {
            for (name, before) in &last {
                let after = now.get(name).copied().unwrap_or_default();
                assert!(
                    after >= *before,
                    "round {round}: {name} fell from {before} to {after}"
                );
            }
            last = now;
            if begin.elapsed() >= cut {
                break;
            }
            now = meter.once_served();
        }
    }
    last["EMData.GetStatus a_total_act_energy"]
}

/// A monitor booked a second meter: after each power cut the counter began 5 to 22 Wh below what
/// had been served.
#[test]
fn counters_never_fall_over_a_power_cut() {
    let rounds = std::env::var("KILL_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(24);
    let lanes: u64 = 6;
    let came: Vec<f64> = std::thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes)
            .map(|i| {
                scope.spawn(move || lane(u64::div_ceil(rounds, lanes), fastrand::Rng::with_seed(i)))
            })
            .collect();
        lanes.into_iter().map(|lane| lane.join().unwrap()).collect()
    });
    println!("{rounds} rounds; Wh that were served: {came:?}");
    assert!(
        came.iter().sum::<f64>() > 10.0,
        "counters have to move: {came:?}"
    );
}
