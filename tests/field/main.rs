//! Faults that real homes met, rebuilt as inputs. Each test says in one line where its input comes
//! from, and pins the right answer.
//!
//! One file a subject. What needs a real client, a real Home Assistant or a browser stands in
//! `tests/conformance/`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/fake_ha.rs"]
mod fake_ha;
#[path = "../common/tls.rs"]
mod tls;

// Not a dependency of ours but of hyper's: its tests run here.
#[allow(dead_code)]
#[path = "../../patches/httpdate/src/lib.rs"]
mod httpdate;

mod absent;
mod brands;
mod connection;
mod direction;
mod discovery;
mod downloads;
mod folder;
mod frozen;
mod house;
mod memory;
mod numbers;
mod pairs;
mod ports;
mod power_cut;
mod profiles;
mod shelly_api;
mod start;
