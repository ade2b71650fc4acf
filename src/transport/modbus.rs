//! Modbus TCP (`shelly-pro-3em.md` section 9): tokio-modbus frames it, [`device::modbus`](crate::device::modbus) knows the registers.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    time::{Instant, Sleep, sleep},
};
use tokio_modbus::{
    ExceptionCode, Request, Response, SlaveRequest,
    server::{Service, tcp::Server},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{
    board::{Board, ListenerState},
    endpoint::Endpoint,
    limits::{Connections, Place, Rate},
    listener::{self, Wanted},
};
use crate::{
    consumers::{Caller, Channel},
    device::{
        Manner,
        modbus::{self, Exception},
    },
};

/// A master that asks nothing for this long is closed.
const IDLE: Duration = Duration::from_secs(300);

/// Serves while `Modbus.SetConfig` has it enabled: binds, again and again while the port cannot be had, until cancelled.
pub async fn run(wanted: Wanted, endpoint: Arc<Endpoint>, board: Board, cancel: CancellationToken) {
    let mut state = endpoint.state.clone();
    loop {
        if !state.borrow_and_update().modbus_enable {
            board.set(wanted.line(ListenerState::Off));
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = state.changed() => if changed.is_err() { return } else { continue },
            }
        }
        let session = cancel.child_token();
        let serving = async {
            let bind = || listener::bind_all(&wanted, listener::tcp);
            let Some(listeners) = listener::acquire(&wanted, &board, &session, bind).await else { return };
            let connections = Connections::default();
            let each = listeners.into_iter().map(|l| serve(l, Arc::clone(&endpoint), connections.clone(), session.clone()));
            futures_util::future::join_all(each).await;
        };
        let disabled = async {
            while state.changed().await.is_ok() {
                if !state.borrow_and_update().modbus_enable {
                    return;
                }
            }
            std::future::pending().await
        };
        tokio::select! {
            () = serving => return,
            () = disabled => session.cancel(),
        }
    }
}

/// Serves one listener until cancelled.
pub async fn serve(listener: TcpListener, endpoint: Arc<Endpoint>, connections: Connections, cancel: CancellationToken) {
    let rate = Arc::new(Rate::default());
    let on_connected = |stream: TcpStream, peer: SocketAddr| {
        let accepted = accept(stream, peer, &endpoint, &connections, &rate);
        // A connection that vanished before it was looked at must not end the listener.
        std::future::ready(Ok(accepted.ok()))
    };
    let server = Server::new(listener);
    loop {
        let on_error = |error: io::Error| tracing::debug!("a Modbus connection ended: {error}");
        tokio::select! {
            () = cancel.cancelled() => return,
            ended = server.serve(&on_connected, on_error) => if let Err(error) = ended {
                // Out of file descriptors, mostly: waiting lets others close.
                tracing::warn!("cannot accept Modbus connections: {error}");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }
}

fn accept(
    stream: TcpStream,
    peer: SocketAddr,
    endpoint: &Arc<Endpoint>,
    connections: &Connections,
    rate: &Arc<Rate>,
) -> io::Result<(Master, Guarded)> {
    let local = stream.local_addr()?;
    stream.set_nodelay(true)?;
    let peer_ip = peer.ip().to_canonical();
    let max = endpoint.channels.borrow().max_connections;
    // Ends with the device's running time; with the listener, because dropping `Server::serve` ends its connections.
    let over = endpoint.boot_over().child_token();
    let place = connections.enter(peer_ip, max, &over);
    let caller = Caller {
        peer: peer_ip,
        peer_port: peer.port(),
        local: Some(local.ip().to_canonical()),
        local_port: local.port(),
        channel: Channel::Modbus,
        agent: None,
    };
    let guarded = Guarded { closed: Box::pin(place.close.clone().cancelled_owned()), idle: Box::pin(sleep(IDLE)), stream, place };
    Ok((Master { endpoint: Arc::clone(endpoint), caller: Arc::new(caller), rate: Arc::clone(rate) }, guarded))
}

/// One connection's service.
struct Master {
    endpoint: Arc<Endpoint>,
    caller: Arc<Caller>,
    rate: Arc<Rate>,
}

impl Service for Master {
    type Request = SlaveRequest<'static>;
    type Response = Option<Response>;
    type Exception = ExceptionCode;
    type Future = Pin<Box<dyn Future<Output = Result<Option<Response>, ExceptionCode>> + Send>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        let (endpoint, caller, rate) = (Arc::clone(&self.endpoint), Arc::clone(&self.caller), Arc::clone(&self.rate));
        Box::pin(async move {
            let (unit, limit) = {
                let channels = endpoint.channels.borrow();
                (channels.modbus_unit_id, channels.rate_limit)
            };
            if !rate.allow(caller.peer, limit) {
                return Err(ExceptionCode::ServerDeviceBusy);
            }
            if unit != 0 && ![unit, 0, 255].contains(&request.slave) {
                return Err(ExceptionCode::GatewayTargetDevice);
            }
            endpoint.registers(&caller, &request.request).await
        })
    }
}

impl Endpoint {
    /// Answers one Modbus request; `None`: nothing is sent.
    ///
    /// # Errors
    /// The device's exception.
    pub async fn registers(&self, caller: &Caller, request: &Request<'_>) -> Result<Option<Response>, ExceptionCode> {
        let (map, reset) = {
            let channels = self.channels.borrow();
            (channels.modbus_map, channels.modbus_reset)
        };
        let device = Arc::clone(&self.device.borrow());
        let read = |function: u8, address: u16, count: u16| {
            let moment = self.moment(caller, self.view(), Manner::default());
            moment.with(self.records.as_ref(), |context| modbus::read(&device, context, map, function, address, count))
        };
        let (asked, answer) = match request {
            Request::ReadInputRegisters(address, count) => {
                (format!("read {address}"), read(modbus::READ_INPUT, *address, *count).map(Response::ReadInputRegisters))
            }
            Request::ReadHoldingRegisters(address, count) => {
                (format!("read {address}"), read(modbus::READ_HOLDING, *address, *count).map(Response::ReadHoldingRegisters))
            }
            Request::WriteSingleRegister(address, word) => {
                let done = self.write_registers(&device, map, reset, modbus::WRITE_SINGLE, *address, &[*word]).await;
                (format!("write {address}"), done.map(|()| Response::WriteSingleRegister(*address, *word)))
            }
            Request::WriteMultipleRegisters(address, words) => {
                let done = self.write_registers(&device, map, reset, modbus::WRITE_MULTIPLE, *address, words).await;
                let count = u16::try_from(words.len()).unwrap_or(u16::MAX);
                (format!("write {address}"), done.map(|()| Response::WriteMultipleRegisters(*address, count)))
            }
            other => (format!("function {}", other.function_code().value()), Err(Exception::Function)),
        };
        let value = answer.is_ok().then(|| self.view().totals.map(|t| t.act_power.get())).flatten();
        self.note_registers(caller, &asked, answer.as_ref().err().copied(), value);
        match answer {
            Ok(response) => Ok(Some(response)),
            Err(exception) => exception.code().map_or(Ok(None), |code| Err(exception_code(code))),
        }
    }

    async fn write_registers(
        &self,
        device: &crate::device::Device,
        map: crate::config::ModbusMap,
        reset: bool,
        function: u8,
        address: u16,
        words: &[u16],
    ) -> Result<(), Exception> {
        let effects = modbus::write(device, map, reset, function, address, words)?;
        self.hub.apply(effects).await;
        Ok(())
    }
}

fn exception_code(code: u8) -> ExceptionCode {
    match code {
        1 => ExceptionCode::IllegalFunction,
        2 => ExceptionCode::IllegalDataAddress,
        3 => ExceptionCode::IllegalDataValue,
        4 => ExceptionCode::ServerDeviceFailure,
        other => ExceptionCode::Custom(other),
    }
}

/// A master's socket that ends when it has to, whatever tokio-modbus waits for.
struct Guarded {
    stream: TcpStream,
    place: Place,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
    idle: Pin<Box<Sleep>>,
}

impl AsyncRead for Guarded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.place.activity.read();
            self.idle.as_mut().reset(Instant::now() + IDLE);
        } else if poll.is_pending() {
            if self.closed.as_mut().poll(cx).is_ready() || self.idle.as_mut().poll(cx).is_ready() {
                // Reads as the end of the stream: tokio-modbus then closes the connection cleanly.
                return Poll::Ready(Ok(()));
            }
        }
        poll
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
