//! A virtual Shelly Pro 3EM: grid power that Home Assistant knows, served as the meter that
//! batteries read.
//!
//! ```text
//!  source/ ──Reading──▶ meter/ ──Snapshot──▶ device/ ──Reply/Notification──▶ transport/
//!  (Home Assistant,     (signs, units,       (what a Pro 3EM   (HTTP, WebSocket, UDP,
//!   demo, replay)        smoothing, energy)   would answer)     Modbus, mDNS, outbound WS)
//!                           │    ▲                                   ▲
//!                           ▼    │                                   │ who asks, how often
//!                         store/ (SQLite)  ◀── forecast/         consumers/
//!                           ▲                   ▲
//!                           └──── dashboard/ (askama pages, live stream, for people)
//! ```
//!
//! | room | it knows |
//! | --- | --- |
//! | [`config`] | every option once, read in layers into one validated [`config::Settings`] |
//! | [`source`] | how a reading comes in |
//! | [`meter`] | physics: pure, time is an argument |
//! | [`device`] | the emulated device: pure functions of request, snapshot, settings |
//! | [`transport`] | bytes in, bytes out, one file a channel |
//! | [`consumers`] | who reads, how often, and their shares |
//! | [`control`] | when a battery is answered, so that it does not swing: pure, time is an argument |
//! | [`store`] | SQLite and its writer thread |
//! | [`background`] | what reads the database for others, at a lower priority |
//! | [`forecast`] | series → forecast: pure over arrays |
//! | `dashboard` | pages and their live data for people |
//! | `app` | how all these are wired |
//!
//! Arrows of `use` follow the flow; nothing points back. `app` is the one place where rooms are
//! wired to one another and tasks start and stop. The last two are rooms of the program
//! (`main.rs`), which nothing else uses: compiled with the others in one piece, they would need
//! more memory than a small machine has (DOCS.md, "Local build").

mod address;
pub mod background;
pub mod cli;
pub mod config;
pub mod consumers;
pub mod control;
pub mod control_socket;
pub mod device;
pub mod forecast;
mod http_client;
pub mod logging;
pub mod meter;
pub mod one_line;
pub mod source;
pub mod store;
pub mod supervisor;
pub mod time;
pub mod tls;
pub mod transport;
