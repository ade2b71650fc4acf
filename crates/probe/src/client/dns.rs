//! The meter's services, asked for on the network.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use mdns_sd::{IfKind, Receiver, ServiceDaemon, ServiceEvent};
use tokio::time::{Instant, timeout_at};

use crate::{Fault, judge::announcement::Service};
use vocab::reason::Cause;

/// What an answer may take: a GX resolves a name within 3 s.
const PATIENCE: Duration = Duration::from_secs(3);

/// Every service of these kinds that is heard until each kind has one that `ours` takes, in the
/// order of `kinds`.
///
/// # Errors
/// When nothing can be asked.
pub async fn find(
    interfaces: &[String],
    kinds: &[&str],
    ours: impl Fn(&Service) -> bool,
) -> Result<Vec<Vec<Service>>, Fault> {
    let failed = |error: mdns_sd::Error| Fault::Unreached {
        error: Cause::said(error.to_string()),
    };
    let daemon = ServiceDaemon::new().map_err(failed)?;
    let begun = begin(&daemon, interfaces, kinds).map_err(failed);
    let mut all = Vec::new();
    let end = Instant::now() + PATIENCE;
    for (kind, answers) in kinds.iter().zip(begun?) {
        all.push(heard(kind, &answers, end, &ours).await);
    }
    let _ = daemon.shutdown();
    Ok(all)
}

fn begin(
    daemon: &ServiceDaemon,
    interfaces: &[String],
    kinds: &[&str],
) -> Result<Vec<Receiver<ServiceEvent>>, mdns_sd::Error> {
    if !interfaces.is_empty() {
        daemon.disable_interface(IfKind::All)?;
        for name in interfaces {
            daemon.enable_interface(IfKind::Name(name.clone()))?;
        }
    }
    kinds.iter().map(|kind| daemon.browse(kind)).collect()
}

async fn heard(
    kind: &str,
    answers: &Receiver<ServiceEvent>,
    end: Instant,
    ours: &impl Fn(&Service) -> bool,
) -> Vec<Service> {
    // By name and port: two programs with one identity may answer from the same host.
    let mut found: BTreeMap<(String, u16), Service> = BTreeMap::new();
    let instance = |name: &str| {
        name.strip_suffix(&format!(".{kind}"))
            .unwrap_or(name)
            .to_owned()
    };
    while let Ok(Ok(event)) = timeout_at(end, answers.recv_async()).await {
        match event {
            ServiceEvent::ServiceFound(_, name)
                if !found.keys().any(|(known, _)| *known == name) =>
            {
                let service = Service {
                    instance: instance(&name),
                    ..Service::default()
                };
                found.insert((name, 0), service);
            }
            ServiceEvent::ServiceResolved(service) => {
                let heard = Service {
                    instance: instance(&service.fullname),
                    host: service.host.clone(),
                    port: service.port,
                    addresses: service
                        .addresses
                        .iter()
                        .map(mdns_sd::ScopedIp::to_ip_addr)
                        .collect::<Vec<IpAddr>>(),
                    text: service
                        .txt_properties
                        .iter()
                        .map(|one| (one.key().to_owned(), one.val_str().to_owned()))
                        .collect(),
                };
                let done = ours(&heard);
                found.remove(&(service.fullname.clone(), 0));
                found.insert((service.fullname.clone(), service.port), heard);
                if done {
                    break;
                }
            }
            _ => {}
        }
    }
    found.into_values().collect()
}
