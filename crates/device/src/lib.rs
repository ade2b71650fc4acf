//! What a Pro 3EM would answer: identity, components, RPC, notifications, registers,
//! authentication.
//!
//! Pure functions of request, snapshot, state and settings. No socket, no clock, no SQL. A call
//! gives a reply and a list of [`Effect`]s; `app` carries those out
//! (`docs/decisions.md#the-device-is-pure`).
//!
//! | file | it knows |
//! | --- | --- |
//! | [`identity`] | who the device is |
//! | [`firmware`] | in what versions of its firmware differ |
//! | `dispatch`, `components/` | methods, one file a component |
//! | [`frame`] | RPC frames and query strings to calls, answers to frames |
//! | [`auth`] | digest authentication of headers and frames |
//! | [`notify`] | what a connection is told unasked, and when |
//! | [`history`] | minute records: columns, pages, CSV |
//! | [`modbus`] | registers |
//! | [`state`], `stored` | what a reader may change |
//! | [`target`] | where a reader may send the meter |
//! | [`view`] | a snapshot with the texts made of it |

mod answer;
pub mod auth;
mod components;
mod context;
mod device;
mod dispatch;
pub mod error;
pub mod firmware;
pub mod frame;
pub mod history;
pub mod identity;
mod method;
pub mod modbus;
pub mod notify;
mod options;
mod params;
pub mod state;
mod stored;
pub mod target;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod view;

pub use answer::{Answer, Effect, Json, Outcome};
pub use context::{Context, Manner};
pub use device::{Device, DeviceOptions};
pub use dispatch::find;
pub use error::RpcError;
pub use identity::Identity;
pub use method::{Found, Method, Power};
pub use state::{DeviceState, Setting};
pub use view::{AtZero, View};
