//! Modbus TCP.

use std::{io, time::Duration};

use tokio::time::timeout;
use tokio_modbus::{
    Slave,
    client::{Context, Reader, tcp},
};

use super::{connect, silent, unreached};
use crate::Fault;

/// What an answer may take.
const PATIENCE: Duration = Duration::from_secs(4);
/// The unit that masters are set to.
const UNIT: u8 = 1;

/// A connection.
pub struct Master(Context);

impl Master {
    /// To `host:port`, unit 1.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn open(host: &str, port: u16) -> Result<Self, Fault> {
        let stream = connect(host, port).await?;
        Ok(Self(tcp::attach_slave(stream, Slave(UNIT))))
    }

    /// Registers by function 04, or the number of an exception.
    ///
    /// # Errors
    /// When no answer comes, or none that can be read.
    pub async fn input(&mut self, from: u16, count: u16) -> Result<Result<Vec<u16>, u8>, Fault> {
        match timeout(PATIENCE, self.0.read_input_registers(from, count)).await {
            Ok(Ok(answer)) => Ok(answer.map_err(u8::from)),
            Ok(Err(error)) => Err(unreached(io::Error::other(error))),
            Err(_) => Err(silent(PATIENCE)),
        }
    }
}
