//! One test under way: its clients, what is known of the meter, and the steps so far.

use std::net::IpAddr;

use reqwest::Client;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    Expect, Fault, Lookup, Report, Service as Offered, Step, Target,
    client::{self, dns, http, socket::Socket},
    judge::{
        announcement::{Service, Wants, service},
        device::{self, Who},
        reply::{Body, Outcome, bare, frame, result, says_no_value},
    },
    step::Verdict,
};

/// Both kinds that a device announces.
pub const HTTP_KIND: &str = "_http._tcp.local.";
/// See [`HTTP_KIND`].
pub const SHELLY_KIND: &str = "_shelly._tcp.local.";

/// Whether a reader needs what is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It finds the meter in no other way.
    Must,
    /// An address can be entered, too.
    May,
}

/// See the module.
pub struct Play<'a> {
    pub target: &'a Target,
    pub report: Report,
    /// Who the meter is, once it has said so.
    pub who: Option<Who>,
    tell: &'a mut (dyn FnMut(&Step) + Send),
    client: Option<Client>,
}

impl<'a> Play<'a> {
    pub fn new(target: &'a Target, tell: &'a mut (dyn FnMut(&Step) + Send)) -> Self {
        Self {
            target,
            report: Report::default(),
            who: None,
            tell,
            client: None,
        }
    }

    /// A step that ended.
    pub fn tell(&mut self, step: Step) {
        (self.tell)(&step);
        self.report.steps.push(step);
    }

    /// Who the meter is by what is known, a three-phase one while nothing is.
    pub fn known(&self) -> Who {
        self.who.clone().unwrap_or_default()
    }

    /// The HTTP port, or a red step that says that there is none.
    pub fn http(&mut self, expected: Expect) -> Option<u16> {
        let target = self.target;
        match &target.http {
            Offered::On(ports) => ports.first().copied(),
            Offered::Off(option) => {
                self.off(option, "HTTP", expected);
                None
            }
        }
    }

    /// A red step: the channel is off.
    pub fn off(&mut self, option: &'static str, call: &str, expected: Expect) {
        let verdict = Verdict::bad(Fault::Off { option });
        self.tell(Step::new(call, expected, "", Default::default(), verdict));
    }

    /// Asks by HTTP and judges the result; `None` where there is none.
    pub async fn get<T>(
        &mut self,
        path: &str,
        posted: Option<Value>,
        expected: Expect,
        judge: impl FnOnce(&Body, &mut Verdict) -> T,
    ) -> Option<T> {
        let method = path
            .trim_start_matches("/rpc/")
            .split(['?', '/'])
            .next()
            .unwrap_or_default();
        let method = if method.is_empty() { path } else { method }.to_owned();
        self.ask(path, posted, expected, |outcome, verdict| {
            result(outcome, &method, verdict).map(|body| judge(&body, verdict))
        })
        .await
        .flatten()
    }

    /// The same, whatever came.
    pub async fn ask<T>(
        &mut self,
        path: &str,
        posted: Option<Value>,
        expected: Expect,
        judge: impl FnOnce(Outcome, &mut Verdict) -> T,
    ) -> Option<T> {
        let port = self.http(expected.clone())?;
        let url = format!("http://{}{path}", self.target.at(port));
        let call = match &posted {
            None => format!("GET {path}"),
            Some(body) => format!("POST {path} {body}"),
        };
        let begin = Instant::now();
        let mut verdict = Verdict::default();
        let (came, judged) = match self.fetch(&url, posted).await {
            Ok((status, text)) => {
                let outcome = bare(status, &text, &mut verdict);
                (text, Some(judge(outcome, &mut verdict)))
            }
            Err(fault) => {
                verdict.fault(fault);
                (String::new(), None)
            }
        };
        self.tell(Step::new(call, expected, &came, begin.elapsed(), verdict));
        judged
    }

    async fn fetch(&mut self, url: &str, posted: Option<Value>) -> Result<(u16, String), Fault> {
        if self.client.is_none() {
            self.client = Some(http::open()?);
        }
        match &self.client {
            Some(client) => http::ask(client, url, posted.map(|body| body.to_string())).await,
            None => Err(Fault::Unreadable),
        }
    }

    /// Learns who the meter is without a step, for those who look for it before they ask it.
    async fn introduce(&mut self) {
        let Offered::On(ports) = &self.target.http else {
            return;
        };
        let Some(port) = ports.first() else { return };
        let url = format!("http://{}/shelly", self.target.at(*port));
        if let Ok((200, text)) = self.fetch(&url, None).await
            && let Some(body) = Body::of(&text)
        {
            self.who = device::info(&body, true, &mut Verdict::default());
        }
    }

    /// Looks for the meter by mDNS, a step for each kind.
    pub async fn announced(&mut self, kinds: &[&'static str], need: Need, wants: Wants<'_>) {
        let target = self.target;
        let skip = match &target.mdns {
            Lookup::On(_) => None,
            Lookup::Off(option) => Some(Fault::NotAnnounced { option }),
            Lookup::Loopback => Some(Fault::OnLoopback),
        };
        if let Some(why) = skip {
            for kind in kinds {
                let expected = Expect::Announced { kind };
                let mut step = Step::skipped(format!("mDNS {kind}"), expected, why.clone());
                if let Offered::On(ports) = &target.http
                    && wants.port_80
                    && let Some(port) = ports.first().filter(|port| **port != 80)
                {
                    step.why.push(Fault::Port { port: *port });
                }
                self.tell(step);
            }
            return;
        }
        self.introduce().await;
        let address: Option<IpAddr> = client::address(&target.host, 0)
            .await
            .ok()
            .map(|address| address.ip());
        let Lookup::On(interfaces) = &target.mdns else {
            return;
        };
        let begin = Instant::now();
        let who = self.who.clone();
        let is = |service: &Service| service.is(who.as_ref(), address);
        let found = dns::find(interfaces, kinds, is).await;
        for (index, kind) in kinds.iter().enumerate() {
            let mut verdict = Verdict::default();
            let ours = match &found {
                Ok(all) => all.get(index).and_then(|kind| kind.iter().find(|s| is(s))),
                Err(fault) => {
                    verdict.fault(fault.clone());
                    None
                }
            };
            let came = ours.map_or_else(String::new, |service| {
                format!(
                    "{} {}:{} {:?} {:?}",
                    service.instance, service.host, service.port, service.addresses, service.text
                )
            });
            match ours {
                Some(ours) => service(ours, who.as_ref(), address, wants, &mut verdict),
                None if verdict.faults.is_empty() => verdict.fault(Fault::Unfound),
                None => {}
            }
            // Whom an address can be entered in does without; what is announced wrongly misleads it.
            if need == Need::May && ours.is_none() {
                verdict.notes.append(&mut verdict.faults);
            }
            self.tell(Step::new(
                format!("mDNS {kind}"),
                Expect::Announced { kind },
                &came,
                begin.elapsed(),
                verdict,
            ));
        }
    }

    /// Whether the meter says over HTTP that it has no value now.
    pub async fn has_no_value(&mut self) -> bool {
        let Offered::On(ports) = &self.target.http else {
            return false;
        };
        let Some(port) = ports.first() else {
            return false;
        };
        for method in ["EM.GetStatus", "EM1.GetStatus"] {
            let url = format!("http://{}/rpc/{method}?id=0", self.target.at(*port));
            if let Ok((status, text)) = self.fetch(&url, None).await
                && says_no_value(&bare(status, &text, &mut Verdict::default()))
            {
                return true;
            }
        }
        false
    }

    /// Opens the WebSocket, as a step, for calls from `src`: by it the meter knows some readers.
    pub async fn socket(&mut self, src: &'static str) -> Option<Socket> {
        let port = self.http(Expect::Connected)?;
        let begin = Instant::now();
        let opened = Socket::open(&self.target.host, port, src).await;
        let (verdict, came) = match &opened {
            Ok(_) => (Verdict::default(), "101"),
            Err(fault) => (Verdict::bad(fault.clone()), ""),
        };
        let call = format!("ws://{}/rpc", self.target.at(port));
        self.tell(Step::new(
            call,
            Expect::Connected,
            came,
            begin.elapsed(),
            verdict,
        ));
        opened.ok()
    }

    /// A call over the WebSocket whose result is judged.
    pub async fn call<T>(
        &mut self,
        socket: &mut Socket,
        method: &str,
        params: Value,
        expected: Expect,
        judge: impl FnOnce(&Body, &mut Verdict) -> T,
    ) -> Option<T> {
        self.try_call(socket, method, params, expected, |outcome, verdict| {
            result(outcome, method, verdict).map(|body| judge(&body, verdict))
        })
        .await
        .flatten()
    }

    /// The same, whatever came.
    pub async fn try_call<T>(
        &mut self,
        socket: &mut Socket,
        method: &str,
        params: Value,
        expected: Expect,
        judge: impl FnOnce(Outcome, &mut Verdict) -> T,
    ) -> Option<T> {
        let begin = Instant::now();
        let sent = socket.send(method, &params).await;
        self.answered(socket, method, &params, sent, begin, expected, judge)
            .await
    }

    /// The answer to a call that was sent before.
    #[allow(
        clippy::too_many_arguments,
        reason = "a call and all that is due of it"
    )]
    pub async fn answered<T>(
        &mut self,
        socket: &mut Socket,
        method: &str,
        params: &Value,
        sent: Result<Value, Fault>,
        begin: Instant,
        expected: Expect,
        judge: impl FnOnce(Outcome, &mut Verdict) -> T,
    ) -> Option<T> {
        let call = if params.is_null() {
            method.to_owned()
        } else {
            format!("{method} {params}")
        };
        let mut verdict = Verdict::default();
        let answer = match sent {
            Ok(id) => socket.answer(&id).await.map(|text| (id, text)),
            Err(fault) => Err(fault),
        };
        let (came, judged) = match answer {
            Ok((id, text)) => {
                let outcome = frame(&text, &id, &mut verdict);
                (text, Some(judge(outcome, &mut verdict)))
            }
            Err(fault) => {
                verdict.fault(fault);
                (String::new(), None)
            }
        };
        self.tell(Step::new(call, expected, &came, begin.elapsed(), verdict));
        judged
    }
}

/// Params of a component with instances.
pub fn instance(id: u64) -> Value {
    json!({"id": id})
}
