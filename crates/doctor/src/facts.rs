//! What is known, without a judgement.

use std::net::IpAddr;

use ipnet::IpNet;
use vocab::EntityId;
use vocab::reason::{Cause as Said, Reason};

/// Why a port is not ours.
#[derive(Clone, Debug, PartialEq)]
pub enum Hold {
    /// Home Assistant's own.
    HomeAssistant,
    /// Taken, by this program if that is known.
    Taken(Option<String>),
    /// This user may not open it.
    Forbidden,
    /// The address is not this machine's.
    NoAddress,
    /// What the system said.
    Other(Said),
}

/// How a listener is.
#[derive(Clone, Debug, PartialEq)]
pub enum PortState {
    /// Ours.
    Open,
    /// Nobody's: the meter does not run.
    Free,
    /// Off by this option, or by a call of this method.
    Off(String),
    /// It cannot be had.
    Held(Hold),
}

/// A listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// As the board calls it: `http`, `udp`, `modbus`, `websocket`, `dashboard`.
    pub name: &'static str,
    /// As people call it, with the meter's name where it has one.
    pub shown: String,
    /// Its port.
    pub port: u16,
    /// Its address; of all, none.
    pub address: Option<String>,
    /// How it is.
    pub state: PortState,
    /// Prefix of the option keys of its meter.
    pub prefix: String,
}

/// An address of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Its interface.
    pub interface: String,
    /// With its network.
    pub net: IpNet,
}

impl Address {
    /// Whether its network is one of containers on this machine: nobody else is in it.
    #[must_use]
    pub fn of_containers(&self) -> bool {
        ["docker", "br-", "veth", "hassio"]
            .into_iter()
            .any(|of| self.interface.starts_with(of))
    }
}

/// Who asked, by address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its address.
    pub ip: IpAddr,
}

/// What came to a UDP port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Our port.
    pub port: u16,
    /// Datagrams.
    pub packets: u64,
    /// Those that could be read, answered or not.
    pub readable: u64,
    /// Whose the last was.
    pub last_from: Option<IpAddr>,
}

/// What is announced.
#[derive(Clone, Debug, PartialEq)]
pub struct Announced {
    /// `name.local`; empty while nothing is announced.
    pub host: String,
    /// The device's id.
    pub id: String,
    /// Why it is not announced.
    pub waits: Option<Reason>,
    /// Whether our own question was answered; `None`: not asked.
    pub heard: Option<bool>,
    /// Others that answer to the host's name.
    pub same_host: Vec<IpAddr>,
    /// Hosts that announce the same id elsewhere.
    pub same_id: Vec<String>,
}

/// The way to the source.
#[derive(Clone, Debug, PartialEq)]
pub enum Link {
    /// Demo or replay.
    Invented,
    /// Up.
    Up,
    /// On its way.
    Starting,
    /// Down, or idle.
    Down(Reason),
}

/// An entity that is read.
#[derive(Clone, Debug, PartialEq)]
pub struct Sensor {
    /// Its id.
    pub entity: EntityId,
    /// Seconds since it was reported last.
    pub age: Option<f64>,
    /// Seconds between its reports, as far as is known.
    pub usual: Option<f64>,
    /// Why it is no good.
    pub problem: Option<Reason>,
}

/// How what is kept is kept.
#[derive(Clone, Debug, PartialEq)]
pub enum StoreKept {
    /// On disk, and whole.
    Good,
    /// Nothing yet.
    New,
    /// A backup runs.
    Frozen,
    /// In memory only.
    Memory(Reason),
    /// Commits fail.
    Failing(Reason),
    /// The folder cannot be written.
    Unwritable(Said),
    /// The database is damaged.
    Damaged(Said),
}

/// The data folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    /// Where.
    pub path: String,
    /// How.
    pub kept: StoreKept,
    /// Bytes that are free there.
    pub free: Option<u64>,
}

/// Everything that is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// Under the Supervisor: ports come from the app's Network card.
    pub app: bool,
    /// In a container.
    pub container: bool,
    /// Listeners.
    pub ports: Vec<Port>,
    /// Addresses of this machine, loopback left out.
    pub addresses: Vec<Address>,
    /// What the meter is bound to, if to one address.
    pub bind: Option<IpAddr>,
    /// Seconds since the start; `None`: it does not run.
    pub running: Option<f64>,
    /// Who asked, loopback too.
    pub readers: Vec<Asked>,
    /// What came by UDP.
    pub udp: Vec<Heard>,
    /// The announcements; empty: none is wanted.
    pub announced: Vec<Announced>,
    /// This moment, Unix s.
    pub unix: f64,
    /// What Home Assistant's clock says at this moment, Unix s.
    pub home_assistant_unix: Option<f64>,
    /// The way to the source.
    pub link: Link,
    /// What is read; `None`: not known from here.
    pub entities: Option<Vec<Sensor>>,
    /// What is kept.
    pub store: Option<Store>,
}
