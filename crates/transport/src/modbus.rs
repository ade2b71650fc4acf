//! Modbus TCP (`docs/protocol/modbus.md`): tokio-modbus frames it,
//! [`device::modbus`] knows the registers.

mod coils;

use std::{
    future::{Future, Ready},
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::Either;
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

use self::coils::Coils;
use super::{
    board::{Board, ListenerState},
    endpoint::Endpoint,
    hold,
    limits::{ConnectionSlot, Connections, Rate},
    listener::{self, ListenerSpec},
};
use consumers::{Caller, Channel};
use device::{
    Manner,
    modbus::{self, Exception},
};

/// A master that asks nothing for this long is closed.
const IDLE: Duration = Duration::from_secs(300);

/// Serves while `Modbus.SetConfig` has it enabled: binds, again and again while the port cannot be
/// had, until cancelled.
pub async fn run(
    wanted: ListenerSpec,
    endpoint: Arc<Endpoint>,
    board: Board,
    cancel: CancellationToken,
) {
    let mut state = endpoint.state.clone();
    loop {
        if !state.borrow_and_update().modbus_enable {
            board.set(wanted.line(ListenerState::Off {
                by: "Modbus.SetConfig",
            }));
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = state.changed() => if changed.is_err() { return } else { continue },
            }
        }
        let session = cancel.child_token();
        let bind = || listener::bind_all(&wanted, listener::tcp);
        let each = |listeners: Vec<TcpListener>, session: CancellationToken| {
            let connections = Connections::default();
            let serving = listeners.into_iter().map(|l| {
                serve(
                    l,
                    Arc::clone(&endpoint),
                    connections.clone(),
                    session.clone(),
                )
            });
            let serving = serving.collect::<Vec<_>>();
            async move { drop(futures_util::future::join_all(serving).await) }
        };
        let serving = hold::hold(&wanted, &board, &session, bind, each);
        let disabled = async {
            while state.changed().await.is_ok() {
                if !state.borrow_and_update().modbus_enable {
                    return;
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = serving => return,
            () = disabled => session.cancel(),
        }
    }
}

/// Serves one listener until cancelled.
pub async fn serve(
    listener: TcpListener,
    endpoint: Arc<Endpoint>,
    connections: Connections,
    cancel: CancellationToken,
) {
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
                // Out of file descriptors, mostly. tokio-modbus ends its connections with it;
                // masters come back by themselves.
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
    // Ends with the device's running time; with the listener, because dropping `Server::serve` ends
    // its connections.
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
    let guarded = Guarded {
        closed: Box::pin(place.close.clone().cancelled_owned()),
        idle: Box::pin(sleep(IDLE)),
        coils: Coils::default(),
        stream,
        place,
    };
    Ok((
        Master::new(Arc::clone(endpoint), caller, Arc::clone(rate)),
        guarded,
    ))
}

/// One connection's service.
struct Master {
    endpoint: Arc<Endpoint>,
    caller: Arc<Caller>,
    rate: Arc<Rate>,
}

impl Master {
    fn new(endpoint: Arc<Endpoint>, caller: Caller, rate: Arc<Rate>) -> Self {
        endpoint.consumers.connected(&caller, endpoint.clock.now());
        Self {
            endpoint,
            caller: Arc::new(caller),
            rate,
        }
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        self.endpoint
            .consumers
            .disconnected(&self.caller, self.endpoint.clock.now());
    }
}

type Reply = Result<Option<Response>, ExceptionCode>;

impl Service for Master {
    type Request = SlaveRequest<'static>;
    type Response = Option<Response>;
    type Exception = ExceptionCode;
    /// Reads are answered at once; only a write waits for its effect.
    type Future = Either<Ready<Reply>, Pin<Box<dyn Future<Output = Reply> + Send>>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        let (endpoint, caller) = (&self.endpoint, &self.caller);
        let (unit, limit) = {
            let channels = endpoint.channels.borrow();
            (channels.modbus_unit_id, channels.rate_limit)
        };
        let refused = |why| Either::Left(std::future::ready(Err(why)));
        if !self.rate.allow(caller.peer, limit) {
            return refused(ExceptionCode::ServerDeviceBusy);
        }
        if unit != 0 && ![unit, 0, 255].contains(&request.slave) {
            return refused(ExceptionCode::GatewayTargetDevice);
        }
        let (function, address, words) = match request.request {
            Request::ReadInputRegisters(address, count) => {
                let words = endpoint.read_registers(caller, modbus::READ_INPUT, address, count);
                return Either::Left(std::future::ready(sent(
                    words.map(Response::ReadInputRegisters),
                )));
            }
            Request::ReadHoldingRegisters(address, count) => {
                let words = endpoint.read_registers(caller, modbus::READ_HOLDING, address, count);
                return Either::Left(std::future::ready(sent(
                    words.map(Response::ReadHoldingRegisters),
                )));
            }
            Request::WriteSingleRegister(address, word) => {
                (modbus::WRITE_SINGLE, address, vec![word])
            }
            Request::WriteMultipleRegisters(address, words) => {
                (modbus::WRITE_MULTIPLE, address, words.into_owned())
            }
            _ => {
                endpoint.note_registers(caller, "other", Some(Exception::Function), None);
                return refused(ExceptionCode::IllegalFunction);
            }
        };
        let (endpoint, caller) = (Arc::clone(endpoint), Arc::clone(caller));
        Either::Right(Box::pin(async move {
            let done = endpoint
                .write_registers(&caller, function, address, &words)
                .await;
            sent(done.map(|()| match words[..] {
                [word] if function == modbus::WRITE_SINGLE => {
                    Response::WriteSingleRegister(address, word)
                }
                _ => Response::WriteMultipleRegisters(
                    address,
                    u16::try_from(words.len()).unwrap_or(u16::MAX),
                ),
            }))
        }))
    }
}

/// As tokio-modbus wants it: no answer at all is none.
fn sent(answer: Result<Response, Exception>) -> Reply {
    match answer {
        Ok(response) => Ok(Some(response)),
        Err(exception) => exception
            .code()
            .map_or(Ok(None), |code| Err(exception_code(code))),
    }
}

impl Endpoint {
    /// Answers a read from one view, noted with the power that was in it.
    fn read_registers(
        &self,
        caller: &Caller,
        function: u8,
        address: u16,
        count: u16,
    ) -> Result<Vec<u16>, Exception> {
        let map = self.channels.borrow().modbus_map;
        let device = Arc::clone(&self.device.borrow());
        let view = self.view();
        let power = view
            .totals
            .map(|t| t.act_power.get())
            .filter(|_| modbus::carries_power(address));
        let read = self
            .moment(caller, view, Manner::default())
            .with(self.records.as_ref(), |context| {
                modbus::read(&device, context, map, function, address, count)
            });
        let name = if function == modbus::READ_INPUT {
            "read input registers"
        } else {
            "read holding registers"
        };
        self.note_registers(caller, name, read.as_ref().err().copied(), power);
        read
    }

    async fn write_registers(
        &self,
        caller: &Caller,
        function: u8,
        address: u16,
        words: &[u16],
    ) -> Result<(), Exception> {
        let (map, reset) = {
            let channels = self.channels.borrow();
            (
                channels.modbus_map,
                channels.modbus_reset && !self.state.borrow().locked,
            )
        };
        let device = Arc::clone(&self.device.borrow());
        // Modbus has no way to tell a password.
        let written = modbus::write(
            &device,
            map,
            reset && !self.auth_on(),
            function,
            address,
            words,
        );
        let refused = written.as_ref().err().copied();
        if let Ok(effects) = written {
            self.hub.apply(effects).await;
        }
        let name = if function == modbus::WRITE_SINGLE {
            "write single register"
        } else {
            "write multiple registers"
        };
        self.note_registers(caller, name, refused, None);
        refused.map_or(Ok(()), Err)
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
    coils: Coils,
    place: ConnectionSlot,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
    idle: Pin<Box<Sleep>>,
}

impl Guarded {
    /// Whether it has to end: told to, or nothing was asked for too long. Wakes the task when that
    /// comes.
    fn over(&mut self, cx: &mut Context<'_>) -> bool {
        self.closed.as_mut().poll(cx).is_ready() || self.idle.as_mut().poll(cx).is_ready()
    }

    /// An answer that a master does not take ends with its connection.
    fn taken<T>(&mut self, poll: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if poll.is_pending() && self.over(cx) {
            Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
        } else {
            poll
        }
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.coils.take_from(&mut buf.filled_mut()[before..]);
            self.place.activity.read();
            self.idle.as_mut().reset(Instant::now() + IDLE);
        } else if poll.is_pending() && self.over(cx) {
            // Reads as the end of the stream: tokio-modbus then closes the connection cleanly.
            return Poll::Ready(Ok(()));
        }
        poll
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, buf);
        if matches!(poll, Poll::Ready(Ok(_))) {
            self.place.activity.answered();
        }
        self.taken(poll, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_flush(cx);
        self.taken(poll, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
