//! The device against the real dumps and golden pairs, method by method.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod calls;
mod fixtures;
mod notify;
mod registers;
mod writes;
