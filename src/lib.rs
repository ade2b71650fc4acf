//! A virtual Shelly Pro 3EM: grid power that Home Assistant knows, served as the meter that
//! batteries read.
//!
//! ```text
//!  source ───Reading──▶ meter ───Snapshot──▶ device ───Reply/Notification──▶ transport
//!  (Home Assistant,     (signs, units,       (what a Pro 3EM   (HTTP, WebSocket, UDP,
//!   demo, replay)        smoothing, energy)   would answer)     Modbus, mDNS, outbound WS)
//!                           │    ▲                                   ▲
//!                           ▼    │                                   │ who asks, how often
//!                         store (SQLite)   ◀── forecast          consumers
//!                           ▲                   ▲
//!                           └──── dashboard (askama pages, live stream, for people)
//! ```
//!
//! | crate | it knows |
//! | --- | --- |
//! | [`vocab`] | the words that all others use: phases, readings, moments, numbers, masking |
//! | [`profiles`] | what each product that reads the meter needs of it: data |
//! | [`config`] | every option once, read in layers into one validated [`config::Settings`] |
//! | [`source`] | how a reading comes in |
//! | [`meter`] | physics: pure, time is an argument |
//! | [`device`] | the emulated device: pure functions of request, snapshot, settings |
//! | [`transport`] | bytes in, bytes out, one file a channel |
//! | [`consumers`] | who reads, how often, and their shares |
//! | [`control`] | when a battery is answered, so that it does not swing: pure, time is an argument |
//! | [`diary`] | what went wrong and when it was over, and which readers are missed: pure |
//! | [`store`] | SQLite and its writer thread |
//! | [`background`] | what reads the database for others, at a lower priority |
//! | [`outgoing`] | TLS and the HTTP client of connections that we open |
//! | [`doctor`] | what keeps a meter from being read: facts in, findings out |
//! | [`probe`] | asks a meter as its readers do, and judges what came |
//! | [`forecast`] | series → forecast: pure over arrays |
//! | [`recording`] | a day in a file, and what other options would have answered: the replay is pure |
//! | [`dashboard`] | pages and their live data for people |
//!
//! This library only gathers the crates for tests and benches. Which of them may use which stands
//! in `CONTRIBUTING.md`; the program (`main.rs`) channels them to one another in its module `app`, the
//! one place where tasks start and stop.

pub use background;
pub use config;
pub use consumers;
pub use control;
pub use dashboard;
pub use device;
pub use diary;
pub use doctor;
pub use forecast;
pub use meter;
pub use outgoing;
pub use probe;
pub use profiles;
pub use recording;
pub use source;
pub use store;
pub use transport;
pub use vocab;
