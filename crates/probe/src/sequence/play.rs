//! One test under way: its clients, what is known of the meter, and the steps so far.

use std::{net::IpAddr, sync::Arc};

use reqwest::Client;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    Consumer, Expect, Fault, Lookup, Report, Service as Offered, Step, Target,
    client::{self, dns, http, socket::Socket},
    judge::{
        announcement::{Service, Wants, service},
        device::{self, Who},
        reply::{Body, Outcome, bare, frame, result, says_no_value},
    },
    step::Verdict,
};
use vocab::ours::TEST_AGENT;

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
    /// The `User-Agent` of its calls.
    agent: String,
}

impl<'a> Play<'a> {
    pub fn new(
        consumer: Consumer,
        target: &'a Target,
        tell: &'a mut (dyn FnMut(&Step) + Send),
    ) -> Self {
        Self {
            target,
            report: Report::default(),
            who: None,
            tell,
            client: None,
            agent: format!("{TEST_AGENT} {}", consumer.word()),
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

    /// A step that began then and ends now.
    pub fn ended(
        &mut self,
        call: impl Into<String>,
        expected: Expect,
        came: &str,
        begin: Instant,
        verdict: Verdict,
    ) {
        self.tell(Step::new(call, expected, came, begin.elapsed(), verdict));
    }

    /// A red step: the channel is off.
    pub fn off(&mut self, option: &'static str, call: &str, expected: Expect) {
        let verdict = Verdict::bad(Fault::Off { option });
        self.tell(Step::new(call, expected, "", Default::default(), verdict));
    }

    /// A step of its own where the meter is not at a port that this reader asks: it asks no other
    /// one. Only a note: its calls are made all the same, at the port that was named.
    pub fn only_at(&mut self, ports: &[u16], offered: &Offered, call: &str, option: &'static str) {
        let Offered::On(here) = offered else { return };
        if here.iter().any(|port| ports.contains(port)) {
            return;
        }
        let list = |ports: &[u16]| -> Arc<str> {
            let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
            ports.join("/").into()
        };
        let (wanted, here) = (list(ports), list(here));
        let call = format!("{call} {here}");
        let expected = Expect::Port {
            ports: Arc::clone(&wanted),
        };
        let mut verdict = Verdict::default();
        verdict.note(Fault::OnlyPort {
            port: here,
            wanted,
            option,
        });
        self.tell(Step::new(call, expected, "", Default::default(), verdict));
    }

    /// The same of who asks by HTTP at port 80 only.
    pub fn only_at_80(&mut self) {
        let target = self.target;
        self.only_at(&[80], &target.http, "HTTP", "http_port");
    }

    /// The HTTP port, or a red step that says that there is none.
    fn http(&mut self, expected: Expect) -> Option<u16> {
        let port = self.target.http.port();
        port.map_err(|option| self.off(option, "HTTP", expected))
            .ok()
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
        let answer = verdict.take(self.fetch(&url, posted).await);
        let judged = answer.as_ref().map(|(status, text)| {
            let outcome = bare(*status, text, &mut verdict);
            judge(outcome, &mut verdict)
        });
        let came = answer.map(|(_, text)| text).unwrap_or_default();
        self.ended(call, expected, &came, begin, verdict);
        judged
    }

    async fn fetch(&mut self, url: &str, posted: Option<Value>) -> Result<(u16, String), Fault> {
        let client = match &self.client {
            Some(client) => client,
            None => self.client.insert(http::open()?),
        };
        http::ask(
            client,
            &self.agent,
            url,
            posted.map(|body| body.to_string()),
        )
        .await
    }

    /// Learns who the meter is without a step, for those who look for it before they ask it.
    async fn introduce(&mut self) {
        let Ok(port) = self.target.http.port() else {
            return;
        };
        let url = format!("http://{}/shelly", self.target.at(port));
        if let Ok((200, text)) = self.fetch(&url, None).await
            && let Some(body) = Body::of(&text)
        {
            self.who = device::info(&body, true, &mut Verdict::default());
        }
    }

    /// Asks who the meter is; with `password` this reader can enter one.
    pub async fn info(&mut self, path: &str, password: bool) {
        let judge = |body: &Body, v: &mut Verdict| device::info(body, password, v);
        let who = self.get(path, None, Expect::DeviceInfo, judge).await;
        self.who = who.flatten().or(self.who.take());
    }

    /// Looks for the meter by mDNS, a step for each kind.
    pub async fn announced(&mut self, kinds: &[&'static str], need: Need, wants: Wants<'_>) {
        let target = self.target;
        let interfaces = match &target.mdns {
            Lookup::On(interfaces) => interfaces,
            Lookup::Off(option) => {
                return self.unannounced(kinds, &Fault::NotAnnounced { option });
            }
            Lookup::Loopback => return self.unannounced(kinds, &Fault::OnLoopback),
        };
        self.introduce().await;
        let address = client::address(&target.host, 0).await.ok();
        let address: Option<IpAddr> = address.map(|address| address.ip());
        let begin = Instant::now();
        let who = self.who.clone();
        let is = |service: &Service| service.is(who.as_ref(), address);
        let found = dns::find(interfaces, kinds, is).await;
        for (index, kind) in kinds.iter().enumerate() {
            let mut verdict = Verdict::default();
            let heard = verdict.take(found.as_ref().map_err(Fault::clone));
            let ours = heard.and_then(|all| all[index].iter().find(|s| is(s)));
            let came = ours.map_or_else(String::new, |service| {
                format!(
                    "{} {}:{} {:?} {:?}",
                    service.instance, service.host, service.port, service.addresses, service.text
                )
            });
            match ours {
                Some(ours) => service(ours, who.as_ref(), address, wants, &mut verdict),
                None if heard.is_some() => verdict.fault(Fault::Unfound),
                None => {}
            }
            // Whom an address can be entered in does without; what is announced wrongly misleads it.
            if need == Need::May && ours.is_none() {
                verdict.notes.append(&mut verdict.faults);
            }
            let expected = Expect::Announced { kind };
            self.ended(format!("mDNS {kind}"), expected, &came, begin, verdict);
        }
    }

    /// A step for each kind that is not looked for.
    fn unannounced(&mut self, kinds: &[&'static str], why: &Fault) {
        for kind in kinds {
            let expected = Expect::Announced { kind };
            let step = Step::skipped(format!("mDNS {kind}"), expected, why.clone());
            self.tell(step);
        }
    }

    /// Whether the meter says over HTTP that it has no value now.
    pub async fn has_no_value(&mut self) -> bool {
        let Ok(port) = self.target.http.port() else {
            return false;
        };
        for method in ["EM.GetStatus", "EM1.GetStatus"] {
            let url = format!("http://{}/rpc/{method}?id=0", self.target.at(port));
            if let Ok((status, text)) = self.fetch(&url, None).await
                && says_no_value(&bare(status, &text, &mut Verdict::default()))
            {
                return true;
            }
        }
        false
    }

    /// Opens the WebSocket, as a step, for calls from `src`: by it the meter knows some readers.
    pub async fn socket(&mut self, src: &'static str) -> Option<OnSocket<'_, 'a>> {
        let port = self.http(Expect::Connected)?;
        let begin = Instant::now();
        let mut verdict = Verdict::default();
        let raw = verdict.take(Socket::open(self.target, port, src, &self.agent).await);
        let came = if raw.is_some() { "101" } else { "" };
        let call = format!("ws://{}/rpc", self.target.at(port));
        self.ended(call, Expect::Connected, came, begin, verdict);
        let raw = raw?;
        Some(OnSocket { play: self, raw })
    }
}

/// A test that goes on over the WebSocket.
pub struct OnSocket<'p, 'a> {
    pub play: &'p mut Play<'a>,
    pub raw: Socket,
}

/// A call whose answer is due.
pub struct Sent {
    call: String,
    /// The call's id.
    id: Result<Value, Fault>,
    begin: Instant,
}

impl OnSocket<'_, '_> {
    /// A call whose result is judged.
    pub async fn call<T>(
        &mut self,
        method: &str,
        params: &Value,
        expected: Expect,
        judge: impl FnOnce(&Body, &mut Verdict) -> T,
    ) -> Option<T> {
        self.try_call(method, params, expected, |outcome, verdict| {
            result(outcome, method, verdict).map(|body| judge(&body, verdict))
        })
        .await
        .flatten()
    }

    /// The same, whatever came.
    pub async fn try_call<T>(
        &mut self,
        method: &str,
        params: &Value,
        expected: Expect,
        judge: impl FnOnce(Outcome, &mut Verdict) -> T,
    ) -> Option<T> {
        let sent = self.send(method, params).await;
        self.answer(sent, expected, judge).await
    }

    /// Sends a call; its answer is [`Self::answer`].
    pub async fn send(&mut self, method: &str, params: &Value) -> Sent {
        let begin = Instant::now();
        let id = self.raw.send(method, params).await;
        let call = if params.is_null() {
            method.to_owned()
        } else {
            format!("{method} {params}")
        };
        Sent { call, id, begin }
    }

    /// The answer to a call that was sent before.
    pub async fn answer<T>(
        &mut self,
        sent: Sent,
        expected: Expect,
        judge: impl FnOnce(Outcome, &mut Verdict) -> T,
    ) -> Option<T> {
        let Sent { call, id, begin } = sent;
        let mut verdict = Verdict::default();
        let (mut came, mut judged) = (String::new(), None);
        if let Some(id) = verdict.take(id)
            && let Some(text) = verdict.take(self.raw.answer(&id).await)
        {
            let outcome = frame(&text, &id, &mut verdict);
            judged = Some(judge(outcome, &mut verdict));
            came = text;
        }
        self.play.ended(call, expected, &came, begin, verdict);
        judged
    }
}

/// Params of a component with instances.
pub fn instance(id: u64) -> Value {
    json!({"id": id})
}
