//! One connection to a broker, MQTT 3.1.1.
//!
//! The packets are rumqttc's; the connection is ours, so that TLS is that of all our connections
//! and an address can be looked at before it is dialled. Nothing is kept over a connection: its
//! user says everything anew after each, which is what a broker that was restarted needs.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use rumqttc::mqttbytes::v4::{
    Codec, Connect, ConnectReturnCode, LastWill, Packet, PubAck, PubComp, PubRec, Publish,
    Subscribe, SubscribeFilter,
};
use rumqttc::mqttbytes::{QoS, has_wildcards};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tokio_rustls::TlsConnector;
use tokio_util::{codec::Framed, task::AbortOnDropHandle};

use super::server::{Security, Server};
use outgoing::tls;
use vocab::reason::{BadTarget, Cause, Closed};

/// For name, connection, TLS and the broker's word.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The broker takes us for gone after one and a half of this; we ping twice as often.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// A broker that takes nothing, or says nothing, for this long is gone.
const GONE_AFTER: Duration = Duration::from_secs(45);
/// What the broker may take to read to the end.
const FAREWELL: Duration = Duration::from_secs(2);
/// Largest packet that is read.
const MAX_INCOMING: usize = 64 * 1024;
/// Largest packet that is sent: what Home Assistant is told of a device has some kilobytes.
const MAX_OUTGOING: usize = 256 * 1024;
/// Messages that may wait for the broker.
const OUTGOING: usize = 256;
/// Messages that may wait for us; more are dropped.
const INCOMING: usize = 64;

/// Whom to dial, and as whom.
#[derive(Clone)]
pub struct Broker {
    /// Where.
    pub server: Server,
    /// The name; none: anonymous.
    pub user: Option<String>,
    /// The password that belongs to it.
    pub password: Option<String>,
    /// Another one for each connection at a broker: the older of two with the same is closed.
    pub client_id: String,
    /// Whether an address may be dialled; the text says why not.
    pub may: fn(IpAddr) -> Result<(), BadTarget>,
}

/// What the broker says for us once we are gone without a word; retained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// Where.
    pub topic: String,
    /// What.
    pub payload: &'static str,
}

/// A message from the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// What it says.
    pub payload: Bytes,
    /// The broker had kept it.
    pub retained: bool,
}

/// The connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

enum Order {
    /// A message or a subscription; its number is the connection's.
    Send(Packet),
    Close,
}

/// A connection that the broker accepted.
pub struct Link {
    orders: mpsc::Sender<Order>,
    messages: mpsc::Receiver<Message>,
    driver: AbortOnDropHandle<Closed>,
    /// The broker's address.
    pub peer: SocketAddr,
    /// Ours.
    pub local: SocketAddr,
}

/// Whoever can publish on a connection.
#[derive(Clone)]
pub struct Publisher(mpsc::Sender<Order>);

impl Publisher {
    async fn order(&self, order: Order) -> Result<(), Gone> {
        match timeout(GONE_AFTER, self.0.send(order)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Gone),
        }
    }

    /// Publishes at least once.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn publish(
        &self,
        topic: &str,
        payload: impl Into<Bytes>,
        retain: bool,
    ) -> Result<(), Gone> {
        if !is_topic(topic) {
            return Ok(());
        }
        let mut publish = Publish::from_bytes(topic, QoS::AtLeastOnce, payload.into());
        publish.retain = retain;
        self.order(Order::Send(Packet::Publish(publish))).await
    }

    /// Asks for what is published at these topics.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn subscribe(&self, filters: Vec<String>) -> Result<(), Gone> {
        let filters = filters.into_iter();
        let filters = filters.map(|path| SubscribeFilter::new(path, QoS::AtLeastOnce));
        let subscribe = Packet::Subscribe(Subscribe::new_many(filters));
        self.order(Order::Send(subscribe)).await
    }
}

impl Link {
    /// Dials and waits for the broker's word.
    ///
    /// # Errors
    /// One line: why not.
    pub async fn open(broker: &Broker, will: Option<Will>) -> Result<Self, Closed> {
        timeout(HANDSHAKE, open(broker, will))
            .await
            .unwrap_or_else(|_| {
                Err(Closed::Late {
                    n: HANDSHAKE.as_secs(),
                })
            })
    }

    /// Where to publish.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        Publisher(self.orders.clone())
    }

    /// The next message, or why the connection has ended. May be dropped while it waits.
    ///
    /// # Errors
    /// One line: why it has ended.
    pub async fn next(&mut self) -> Result<Message, Closed> {
        if let Some(message) = self.messages.recv().await {
            return Ok(message);
        }
        Err((&mut self.driver).await.unwrap_or(Closed::Garbled))
    }

    /// Says goodbye, with everything sent that was published before. The will stays unsaid.
    pub async fn close(self) {
        if self.publisher().order(Order::Close).await.is_ok() {
            let _ = timeout(FAREWELL, self.driver).await;
        }
    }
}

/// What bytes go over.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
type Wire = Framed<Box<dyn Stream>, Codec>;

async fn open(broker: &Broker, will: Option<Will>) -> Result<Link, Closed> {
    let (stream, peer, local) = dial(broker).await?;
    let codec = Codec {
        max_incoming_size: MAX_INCOMING,
        max_outgoing_size: MAX_OUTGOING,
    };
    let mut wire = Framed::new(stream, codec);
    let mut connect = Connect::new(broker.client_id.clone());
    connect.keep_alive = u16::try_from(KEEP_ALIVE.as_secs()).unwrap_or(u16::MAX);
    connect.last_will =
        will.map(|will| LastWill::new(will.topic, will.payload, QoS::AtLeastOnce, true));
    if let Some(user) = &broker.user {
        connect.set_login(user, broker.password.as_deref().unwrap_or_default());
    }
    wire.send(Packet::Connect(connect))
        .await
        .map_err(|e| system(&e))?;
    match wire.next().await {
        Some(Ok(Packet::ConnAck(ack))) => accepted(ack.code)?,
        Some(Ok(_)) => return Err(Closed::NoBroker),
        Some(Err(error)) => {
            let error = Cause::of(&error);
            return Err(Closed::NoMqtt { error });
        }
        None => return Err(Closed::HungUp),
    }
    let (orders, ordered) = mpsc::channel(OUTGOING);
    let (heard, messages) = mpsc::channel(INCOMING);
    let driver = AbortOnDropHandle::new(tokio::spawn(drive(wire, ordered, heard)));
    Ok(Link {
        orders,
        messages,
        driver,
        peer,
        local,
    })
}

/// What the system or a library said.
fn system(error: &(dyn std::error::Error + 'static)) -> Closed {
    let error = Cause::of(error);
    Closed::System { error }
}

/// What a refusal means to the owner.
fn accepted(code: ConnectReturnCode) -> Result<(), Closed> {
    Err(match code {
        ConnectReturnCode::Success => return Ok(()),
        ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized => Closed::Login,
        ConnectReturnCode::BadClientId => Closed::ClientId,
        ConnectReturnCode::RefusedProtocolVersion => Closed::OtherProtocol,
        ConnectReturnCode::ServiceUnavailable => Closed::Unavailable,
    })
}

async fn dial(broker: &Broker) -> Result<(Box<dyn Stream>, SocketAddr, SocketAddr), Closed> {
    let Server {
        host,
        port,
        security,
    } = &broker.server;
    let mut failed = Closed::NoAddress;
    let addresses = lookup_host((host.as_str(), *port))
        .await
        .map_err(|e| Closed::System {
            error: Cause::of_lookup(&e),
        })?;
    for address in addresses {
        if let Err(why) = (broker.may)(address.ip()) {
            failed = Closed::Target { why };
            continue;
        }
        let stream = match TcpStream::connect(address).await {
            Ok(stream) => stream,
            Err(error) => {
                failed = system(&error);
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let local = stream.local_addr().unwrap_or(nowhere);
        let stream: Box<dyn Stream> = match security {
            Security::Plain => Box::new(stream),
            Security::Tls | Security::TlsUnchecked => {
                let name = ServerName::try_from(host.clone()).map_err(|e| Closed::NotAHost {
                    error: Cause::of(&e),
                })?;
                let config = tls::client(*security == Security::TlsUnchecked).map_err(|e| {
                    Closed::System {
                        error: Cause::said(e),
                    }
                })?;
                let tls = TlsConnector::from(config).connect(name, stream).await;
                Box::new(tls.map_err(|e| Closed::Tls { error: e.into() })?)
            }
        };
        return Ok((stream, address, local));
    }
    Err(failed)
}

/// Moves packets until one side ends it; gives the reason.
async fn drive(
    mut wire: Wire,
    mut orders: mpsc::Receiver<Order>,
    heard: mpsc::Sender<Message>,
) -> Closed {
    let (mut last, mut number) = (Instant::now(), 0_u16);
    let mut pinged = last;
    loop {
        let packet = tokio::select! {
            packet = wire.next() => {
                last = Instant::now();
                match packet {
                    None => return Closed::ClosedThere,
                    Some(Err(error)) => return system(&error),
                    Some(Ok(Packet::Publish(publish))) => {
                        let (qos, pkid) = (publish.qos, publish.pkid);
                        let message = Message {
                            topic: publish.topic,
                            payload: publish.payload,
                            retained: publish.retain,
                        };
                        // Whoever floods us loses what nobody has room for.
                        let _ = heard.try_send(message);
                        match qos {
                            QoS::AtMostOnce => continue,
                            QoS::AtLeastOnce => Packet::PubAck(PubAck::new(pkid)),
                            QoS::ExactlyOnce => Packet::PubRec(PubRec::new(pkid)),
                        }
                    }
                    Some(Ok(Packet::PubRel(release))) => Packet::PubComp(PubComp::new(release.pkid)),
                    Some(Ok(Packet::Disconnect)) => return Closed::Goodbye,
                    Some(Ok(_)) => continue,
                }
            }
            order = orders.recv() => match order {
                None | Some(Order::Close) => {
                    // Closed over what the broker still says it is a reset, and the broker throws away
                    // what it has not read yet.
                    let _ = timeout(FAREWELL, async {
                        if wire.send(Packet::Disconnect).await.is_ok() {
                            while let Some(Ok(_)) = wire.next().await {}
                        }
                    })
                    .await;
                    return Closed::ClosedHere;
                }
                Some(Order::Send(mut packet)) => {
                    match &mut packet {
                        Packet::Publish(publish) => publish.pkid = next(&mut number),
                        Packet::Subscribe(subscribe) => subscribe.pkid = next(&mut number),
                        _ => {}
                    }
                    packet
                }
            },
            () = sleep_until(last.max(pinged) + KEEP_ALIVE / 2) => {
                if last.elapsed() >= GONE_AFTER {
                    return Closed::Silent;
                }
                pinged = Instant::now();
                Packet::PingReq
            }
        };
        match timeout(GONE_AFTER, wire.send(packet)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return system(&error),
            Err(_) => return Closed::TakesNothing,
        }
    }
}

/// Packet numbers are any but 0.
fn next(number: &mut u16) -> u16 {
    *number = number.checked_add(1).unwrap_or(1);
    *number
}

/// Whether something can be published there. On anything else a broker closes the connection, so that
/// who can name a topic, by the `src` of a call, could cut everybody off.
fn is_topic(topic: &str) -> bool {
    let refused = |c: char| {
        let code = u32::from(c);
        // Unicode's non-characters: two at the end of each plane, and a row of 32.
        c.is_control() || code & 0xfffe == 0xfffe || (0xfdd0..=0xfdef).contains(&code)
    };
    !topic.is_empty()
        && topic.len() <= usize::from(u16::MAX)
        && !has_wildcards(topic)
        && !topic.contains(refused)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    fn broker(address: SocketAddr) -> Broker {
        Broker {
            server: Server::parse(&address.to_string()).unwrap(),
            user: None,
            password: None,
            client_id: "x".into(),
            may: |_| Ok(()),
        }
    }

    /// A server that says these bytes once it was spoken to.
    async fn saying(bytes: &'static [u8]) -> Result<Link, Closed> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 15];
            stream.read_exact(&mut head).await.unwrap();
            stream.write_all(bytes).await.unwrap();
        });
        Link::open(&broker(address), None).await
    }

    #[tokio::test]
    async fn a_refusal_says_what_to_look_at() {
        let refusal = async |bytes| saying(bytes).await.err().unwrap();
        assert_eq!(refusal(&[0x20, 2, 0, 5]).await, Closed::Login);
        assert_eq!(refusal(&[0x20, 2, 0, 2]).await, Closed::ClientId);
        let web = refusal(b"HTTP/1.1 400 Bad Request\r\n").await;
        assert!(matches!(web, Closed::NoBroker | Closed::NoMqtt { .. }));
        assert_eq!(refusal(&[]).await, Closed::HungUp);
    }

    #[tokio::test]
    async fn what_nobody_can_read_ends_the_connection_and_nothing_else() {
        // Accepted, then a message whose topic is longer than the packet.
        let mut link = saying(&[0x20, 2, 0, 0, 0x30, 3, 0xff, 0xff, b'a'])
            .await
            .unwrap();
        assert!(link.next().await.is_err());
    }

    #[tokio::test]
    async fn an_address_that_may_not_be_dialled_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut broker = broker(listener.local_addr().unwrap());
        broker.may = |_| Err(BadTarget::Near);
        let why = Link::open(&broker, None).await.err().unwrap();
        assert_eq!(
            why,
            Closed::Target {
                why: BadTarget::Near
            }
        );
    }

    #[test]
    fn what_a_broker_would_hang_up_on_is_no_topic() {
        for good in ["me/rpc", "/rpc", "Haus/Zähler 1/rpc", "a b/⚡/rpc"] {
            assert!(is_topic(good), "{good:?}");
        }
        let long = "x".repeat(65_536);
        for wrong in [
            "",
            "me/+/rpc",
            "me/#",
            "me\0x/rpc",
            "me\u{7}/rpc",
            "me\u{85}/rpc",
            "me\u{fdd0}/rpc",
            "me\u{1ffff}/rpc",
            &long,
        ] {
            assert!(!is_topic(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn packet_numbers_are_never_zero() {
        let mut number = u16::MAX - 1;
        assert_eq!([next(&mut number), next(&mut number)], [u16::MAX, 1]);
    }
}
