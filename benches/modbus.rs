//! Reads of `em:0` over Modbus TCP against tokio-modbus with a constant service that answers as
//! many registers, in the same run: rounds are interleaved and their median counts. Ends with 1
//! below 0.8.
//!
//! `cargo bench -p benches modbus`

use std::{
    future::{Ready, ready},
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::ExitCode,
};

use crate::common::{Meter, read_pdu};
use benches as pairs;
use tokio::{net::TcpListener, runtime::Runtime};
use tokio_modbus::{
    ExceptionCode, Request, Response,
    server::{Service, tcp::Server},
};

/// The whole block of an EM.
const ADDRESS: u16 = 1000;
const COUNT: u16 = 80;

pub fn run() -> ExitCode {
    let runtime = Runtime::new().unwrap();
    let (meter, ours, bare) = runtime.block_on(async {
        let meter = Meter::new();
        let ours = meter.modbus().await;
        (meter, ours, bare().await)
    });
    let ratio = pairs::compare("modbus", || Master::new(ours), || Master::new(bare));
    runtime.block_on(meter.stop());
    if pairs::met(ratio) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[derive(Clone)]
struct Constant;

impl Service for Constant {
    type Request = Request<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = Ready<Result<Response, ExceptionCode>>;

    fn call(&self, _: Self::Request) -> Self::Future {
        ready(Ok(Response::ReadInputRegisters(vec![
            0x4369;
            usize::from(COUNT)
        ])))
    }
}

/// The floor: tokio-modbus with nothing behind it.
async fn bare() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let connected = |stream: tokio::net::TcpStream, _| {
            stream.set_nodelay(true).unwrap();
            ready(Ok(Some((Constant, stream))))
        };
        Server::new(listener)
            .serve(&connected, |_| {})
            .await
            .unwrap();
    });
    at
}

struct Master {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Master {
    fn new(at: SocketAddr) -> Self {
        let stream = TcpStream::connect(at).unwrap();
        stream.set_nodelay(true).unwrap();
        let request = [&[0, 1, 0, 0, 0, 6, 1][..], &read_pdu(4, ADDRESS, COUNT)].concat();
        Self {
            stream,
            request,
            answer: vec![0; 9 + 2 * usize::from(COUNT)],
        }
    }
}

impl pairs::Ask for Master {
    fn ask(&mut self) {
        self.stream.write_all(&self.request).unwrap();
        self.stream.read_exact(&mut self.answer).unwrap();
        assert_eq!(self.answer[7], 4);
    }
}
