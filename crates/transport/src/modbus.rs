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

use bytes::Bytes;
use futures_util::{
    FutureExt,
    future::{BoxFuture, Either},
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

use self::coils::Coils;
use super::{
    board::{Board, ListenerState},
    endpoint::{Endpoint, Present, connected_caller},
    ground::Ground,
    hold,
    limits::{ConnectionSlot, Connections, Rate},
    listener::ListenerSpec,
};
use consumers::{AnsweredCall, Asked, Caller, Channel};
use device::{
    Manner,
    modbus::{self, Exception, PowerRead},
};
use vocab::ours::TEST_AGENT;

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
    let mut grounds = endpoint.watch();
    loop {
        if !endpoint.ground().state.modbus_enable {
            board.set(wanted.line(ListenerState::Off {
                by: "Modbus.SetConfig",
            }));
            tokio::select! {
                () = cancel.cancelled() => return,
                on = grounds.wait_for(|ground| ground.state.modbus_enable) => if on.is_err() { return },
            }
        }
        let session = cancel.child_token();
        let connections = Connections::default();
        let serving = hold::hold(&wanted, &board, &session, |listener, session| {
            serve(
                listener,
                Arc::clone(&endpoint),
                connections.clone(),
                session,
            )
        });
        let disabled = async {
            let off = |ground: &Arc<Ground>| !ground.state.modbus_enable;
            grounds.wait_for(off).await.is_ok()
        };
        tokio::select! {
            () = serving => return,
            true = disabled => session.cancel(),
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
        let on_error =
            |error: io::Error| tracing::debug!(listener = "modbus", %error, "a connection ended");
        tokio::select! {
            () = cancel.cancelled() => return,
            ended = server.serve(&on_connected, on_error) => if let Err(error) = ended {
                // Out of file descriptors, mostly. tokio-modbus ends its connections with it;
                // masters come back by themselves.
                tracing::warn!(listener = "modbus", %error, "cannot accept connections");
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
    let ground = endpoint.ground();
    // Ends with the device's running time; with the listener, because dropping `Server::serve` ends
    // its connections.
    let over = ground.boot.over.child_token();
    let place = connections.enter(peer_ip, ground.channels.max_connections, &over);
    let mut caller = connected_caller(Channel::Modbus, peer, local);
    if caller.local == Some(caller.peer) && endpoint.consumers.plays_master() {
        caller.agent = Some(TEST_AGENT.into());
    }
    let guarded = Guarded {
        closed: Box::pin(place.close.clone().cancelled_owned()),
        idle: Box::pin(sleep(IDLE)),
        coils: Coils::default(),
        stream,
        place,
    };
    let master = Master {
        present: Present::new(endpoint, caller),
        rate: Arc::clone(rate),
    };
    Ok((master, guarded))
}

/// One connection's service.
struct Master {
    present: Present,
    rate: Arc<Rate>,
}

type Reply = Result<Option<Response>, ExceptionCode>;

impl Service for Master {
    type Request = SlaveRequest<'static>;
    type Response = Option<Response>;
    type Exception = ExceptionCode;
    /// Reads are answered at once; only a write waits for its effect.
    type Future = Either<Ready<Reply>, BoxFuture<'static, Reply>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        let (endpoint, caller) = (&self.present.endpoint, &self.present.caller);
        let ground = endpoint.ground();
        let unit = ground.channels.modbus_unit_id;
        let refused = |why| Either::Left(std::future::ready(Err(why)));
        if !self.rate.allow(caller.peer, ground.channels.rate_limit) {
            return refused(ExceptionCode::ServerDeviceBusy);
        }
        if unit != 0 && ![unit, 0, 255].contains(&request.slave) {
            return refused(ExceptionCode::GatewayTargetDevice);
        }
        let function = request.request.function_code().value();
        let read = |address, count, response: fn(Vec<u16>) -> Response| {
            let words = endpoint.read_registers(&ground, caller, function, address, count);
            Either::Left(std::future::ready(sent(words.map(response))))
        };
        let write = |address, words: Vec<u16>, response| {
            let (endpoint, caller) = (Arc::clone(endpoint), caller.clone());
            let ground = Arc::clone(&ground);
            let writing = async move {
                let done = endpoint.write_registers(&ground, &caller, function, address, &words);
                sent(done.await.map(|()| response))
            };
            Either::Right(writing.boxed())
        };
        match request.request {
            Request::ReadInputRegisters(address, count) => {
                read(address, count, Response::ReadInputRegisters)
            }
            Request::ReadHoldingRegisters(address, count) => {
                read(address, count, Response::ReadHoldingRegisters)
            }
            Request::WriteSingleRegister(address, word) => {
                let response = Response::WriteSingleRegister(address, word);
                write(address, vec![word], response)
            }
            Request::WriteMultipleRegisters(address, words) => {
                let count = u16::try_from(words.len()).unwrap_or(u16::MAX);
                let response = Response::WriteMultipleRegisters(address, count);
                write(address, words.into_owned(), response)
            }
            _ => {
                endpoint.note_registers(caller, function, Some(Exception::Function), (None, None));
                refused(ExceptionCode::IllegalFunction)
            }
        }
    }
}

/// A function, as the register of readers names it.
fn name_of(function: u8) -> &'static str {
    match function {
        modbus::READ_INPUT => "read input registers",
        modbus::READ_HOLDING => "read holding registers",
        modbus::WRITE_SINGLE => "write single register",
        modbus::WRITE_MULTIPLE => "write multiple registers",
        _ => "other",
    }
}

/// As tokio-modbus wants it: no answer at all is none.
fn sent(answer: Result<Response, Exception>) -> Reply {
    match answer {
        Ok(response) => Ok(Some(response)),
        Err(exception) => exception
            .code()
            .map_or(Ok(None), |code| Err(ExceptionCode::new(code))),
    }
}

impl Endpoint {
    /// Answers a read from one view, noted with the power that was in it.
    fn read_registers(
        &self,
        ground: &Arc<Ground>,
        caller: &Caller,
        function: u8,
        address: u16,
        count: u16,
    ) -> Result<Vec<u16>, Exception> {
        let map = ground.channels.modbus_map;
        let view = Arc::clone(self.at_zero(ground, caller, None));
        let (power, phase) = match modbus::power_read(address, count) {
            Some(PowerRead::Whole) => (view.totals.map(|t| t.act_power.get()), None),
            Some(PowerRead::Phase(phase)) => {
                let served = view.phases.get(usize::from(phase)).copied().flatten();
                (served.map(|p| p.act_power.get()), Some(phase))
            }
            None => (None, None),
        };
        let context = self.context(ground, caller.local, view, Manner::default());
        let read = modbus::read(&ground.device, &context, map, function, address, count);
        let refused = read.as_ref().err().copied();
        self.note_registers(caller, function, refused, (power, phase));
        read
    }

    async fn write_registers(
        &self,
        ground: &Ground,
        caller: &Caller,
        function: u8,
        address: u16,
        words: &[u16],
    ) -> Result<(), Exception> {
        // Modbus has no way to tell a password.
        let reset = ground.channels.modbus_reset && !ground.state.locked && !ground.auth_on();
        let written = modbus::write(
            &ground.device,
            ground.channels.modbus_map,
            reset,
            function,
            address,
            words,
        );
        let refused = written.as_ref().err().copied();
        if let Ok(effects) = written {
            self.hub.apply(effects).await;
        }
        self.note_registers(caller, function, refused, (None, None));
        refused.map_or(Ok(()), Err)
    }

    /// Notes a read or write of registers under the name of its function, with the power in it, W,
    /// and the phase that it is of, where it is that of one.
    fn note_registers(
        &self,
        caller: &Caller,
        function: u8,
        refused: Option<Exception>,
        (value, phase): (Option<f64>, Option<u8>),
    ) {
        let (name, code) = (name_of(function), refused.and_then(Exception::code));
        let reply = match (refused, code) {
            (None, _) => Bytes::from_static(b"registers"),
            (Some(_), Some(code)) => Bytes::from(format!("exception {code:02X}")),
            (Some(_), None) => Bytes::new(),
        };
        let asked = AnsweredCall {
            caller,
            src: None,
            method: name,
            known: refused != Some(Exception::Function),
            error: code.map(i32::from),
            value: value.filter(|_| refused.is_none()),
            phase: phase.filter(|_| refused.is_none()),
            nulls: false,
            asked: Asked::default(),
            request: Bytes::from_static(name.as_bytes()),
            reply,
        };
        self.consumers.note(&asked, self.clock.now());
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
