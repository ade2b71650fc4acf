//! What this host says of itself: addresses, who has a port, whether this is a container, room on a
//! disk.

use std::{fs, net::IpAddr, path::Path};

use ipnet::IpNet;

use super::Address;

/// Its addresses, without loopback.
#[must_use]
pub fn addresses() -> Vec<Address> {
    let all = if_addrs::get_if_addrs().unwrap_or_default();
    all.into_iter()
        .filter(|interface| !interface.is_loopback() && !interface.is_link_local())
        .filter_map(|interface| {
            let net = match &interface.addr {
                if_addrs::IfAddr::V4(v4) => IpNet::new(IpAddr::V4(v4.ip), v4.prefixlen),
                if_addrs::IfAddr::V6(v6) => IpNet::new(IpAddr::V6(v6.ip), v6.prefixlen),
            };
            Some(Address {
                interface: interface.name,
                net: net.ok()?,
            })
        })
        .collect()
}

/// Whether this process is in a container.
#[must_use]
pub fn in_container() -> bool {
    ["/.dockerenv", "/run/.containerenv"]
        .into_iter()
        .any(|mark| Path::new(mark).exists())
}

/// Bytes that are free for this user where `path` is.
#[must_use]
pub fn free(path: &Path) -> Option<u64> {
    let there = path.ancestors().find(|path| path.exists())?;
    let stat = rustix::fs::statvfs(there).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The protocols whose sockets the system lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP, listening.
    Tcp,
    /// UDP.
    Udp,
}

/// Name and process id of a program that has a local port, as far as this user may see it.
#[must_use]
pub fn holder(protocol: Protocol, port: u16) -> Option<String> {
    let files = match protocol {
        Protocol::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
        Protocol::Udp => ["/proc/net/udp", "/proc/net/udp6"],
    };
    let inode = files.into_iter().find_map(|file| {
        let table = fs::read_to_string(file).ok()?;
        socket(&table, protocol, port)
    })?;
    let wanted = format!("socket:[{inode}]");
    let own = std::process::id();
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(files) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        let has = |file: fs::DirEntry| {
            fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == wanted.as_str())
        };
        if pid != own && files.flatten().any(has) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (process {pid})", name.trim()));
        }
    }
    None
}

/// The inode of the socket on a local port, from the text of `/proc/net/tcp` and the like.
fn socket(table: &str, protocol: Protocol, port: u16) -> Option<u64> {
    const LISTENING: &str = "0A";
    table.lines().skip(1).find_map(|line| {
        let cells: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (cells.get(1)?, cells.get(3)?, cells.get(9)?);
        let (_, at) = local.rsplit_once(':')?;
        let ours = u16::from_str_radix(at, 16).ok()? == port
            && (protocol == Protocol::Udp || *state == LISTENING);
        ours.then(|| inode.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_socket_is_found_in_the_systems_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
           0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0\n\
           1: 0100007F:0050 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0\n";
        assert_eq!(socket(table, Protocol::Tcp, 8080), Some(4711));
        assert_eq!(socket(table, Protocol::Tcp, 80), None, "no listener");
        assert_eq!(socket(table, Protocol::Udp, 80), Some(4712));
        assert_eq!(socket("", Protocol::Tcp, 80), None);
    }

    #[test]
    fn this_host_can_be_asked() {
        assert!(free(Path::new("/tmp/not/there")).is_some());
        assert!(addresses().iter().all(|a| !a.net.addr().is_loopback()));
    }
}
