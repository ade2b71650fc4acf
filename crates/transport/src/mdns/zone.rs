//! The records of an announcement, as a Pro 3EM sends them, and what answers a question. Pure:
//! bytes and records, no socket.
//!
//! A capture of firmware 1.7.5 shows each record with a life of 120 s and the flush bit on
//! addresses alone. A responder library's 75 minutes for PTR would leave a reader with a meter that
//! is long gone, and SRV and TXT with the flush bit are not what a reader of the device sees.

use std::net::IpAddr;

use simple_dns::{
    CLASS, CharacterString, Label, Name, Packet, PacketFlag, QCLASS, QTYPE, Question,
    ResourceRecord, TYPE,
    rdata::{A, AAAA, NSEC, NsecTypeBitMap, PTR, RData, SRV, TXT},
};

/// The service of every HTTP device.
pub const HTTP: &str = "_http._tcp.local";
/// The service of every Shelly of a second or later generation.
pub const SHELLY: &str = "_shelly._tcp.local";
/// The question for all kinds of services.
const KINDS: &str = "_services._dns-sd._udp.local";
/// Life of every record, s.
pub const TTL: u32 = 120;
/// Longest life in an answer to a resolver that speaks plain DNS, s (RFC 6762, 6.7).
const LEGACY_TTL: u32 = 10;
/// Bytes of an answer that fit into one Ethernet frame.
const FRAME: usize = 1400;

/// What is announced and withdrawn together: an instance with its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The instance's name.
    pub instance: String,
    /// Host without `.local`.
    pub host: String,
    /// Port of all its services.
    pub port: u16,
    /// Addresses of the host.
    pub addresses: Vec<IpAddr>,
    /// Kinds with their TXT strings.
    pub services: Vec<(&'static str, Vec<String>)>,
}

/// A record; `None` where a name cannot be written, which no name of ours is.
type Record = ResourceRecord<'static>;

fn name(labels: &[&str], kind: &str) -> Name<'static> {
    let labels = labels.iter().copied().chain(kind.split('.'));
    Name::new_with_labels(
        &labels
            .map(|l| Label::new_unchecked(l.as_bytes().to_vec()))
            .collect::<Vec<_>>(),
    )
}

fn record(name: Name<'static>, rdata: RData<'static>) -> Record {
    let flush = matches!(rdata, RData::A(_) | RData::AAAA(_) | RData::NSEC(_));
    ResourceRecord::new(name, CLASS::IN, TTL, rdata).with_cache_flush(flush)
}

impl Unit {
    /// Its records: those that are shared with other devices (PTR) first.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        let host = name(&[&self.host], "local");
        let mut records: Vec<Record> = Vec::new();
        for (kind, _) in &self.services {
            records.push(record(
                name(&[], kind),
                RData::PTR(PTR(name(&[&self.instance], kind))),
            ));
        }
        for (kind, txt) in &self.services {
            let instance = name(&[&self.instance], kind);
            let srv = SRV {
                priority: 0,
                weight: 0,
                port: self.port,
                target: host.clone(),
            };
            records.push(record(instance.clone(), RData::SRV(srv)));
            let mut strings = TXT::new();
            for text in txt
                .iter()
                .filter_map(|text| CharacterString::try_from(text.clone()).ok())
            {
                strings.add_char_string(text);
            }
            records.push(record(instance, RData::TXT(strings)));
        }
        for address in &self.addresses {
            let rdata = match address {
                IpAddr::V4(v4) => RData::A(A::from(*v4)),
                IpAddr::V6(v6) => RData::AAAA(AAAA::from(*v6)),
            };
            records.push(record(host.clone(), rdata));
        }
        records
    }

    /// The whole as one packet: an announcement.
    #[must_use]
    pub fn announcement(&self) -> Option<Vec<u8>> {
        packet(self.records(), Vec::new())
    }

    /// The whole with a life of nothing: a goodbye.
    #[must_use]
    pub fn goodbye(&self) -> Option<Vec<u8>> {
        let gone = self.records().into_iter().map(|r| Record { ttl: 0, ..r });
        packet(gone.collect(), Vec::new())
    }

    /// What of it answers `question`, and what goes with it unasked.
    fn answers(&self, question: &Question<'_>) -> (Vec<Record>, Vec<Record>) {
        if !matches!(question.qclass, QCLASS::ANY | QCLASS::CLASS(CLASS::IN)) {
            return (Vec::new(), Vec::new());
        }
        let records = self.records();
        let asked = |r: &&Record| r.name == question.qname && r.match_qtype(question.qtype);
        let mut answers: Vec<Record> = records.iter().filter(asked).cloned().collect();
        let of_kinds = name(&[], KINDS) == question.qname;
        if of_kinds && matches!(question.qtype, QTYPE::ANY | QTYPE::TYPE(TYPE::PTR)) {
            answers.extend(
                self.services
                    .iter()
                    .map(|(kind, _)| record(name(&[], KINDS), RData::PTR(PTR(name(&[], kind))))),
            );
        }
        let host = name(&[&self.host], "local");
        if answers.is_empty() && host == question.qname {
            // Without a "there is none" a resolver that asks for IPv6 as well waits for it.
            answers.push(record(
                host.clone(),
                RData::NSEC(NSEC {
                    next_name: host,
                    type_bit_maps: vec![self.types()],
                }),
            ));
        }
        let follows = |answer: &Record, r: &Record| match &answer.rdata {
            RData::PTR(PTR(instance)) => r.name == *instance || is_address(r),
            RData::SRV(_) | RData::NSEC(_) => is_address(r),
            _ => false,
        };
        let mut beside = records;
        beside.retain(|r| {
            !answers.contains(r) && !of_kinds && answers.iter().any(|answer| follows(answer, r))
        });
        (answers, beside)
    }

    /// Which types the host has.
    fn types(&self) -> NsecTypeBitMap<'static> {
        let any_v6 = self.addresses.iter().any(IpAddr::is_ipv6);
        let mut bitmap = vec![0_u8; if any_v6 { 4 } else { 1 }];
        for address in &self.addresses {
            let kind: usize = if address.is_ipv4() { 1 } else { 28 };
            if let Some(byte) = bitmap.get_mut(kind / 8) {
                *byte |= 0x80 >> (kind % 8);
            }
        }
        NsecTypeBitMap {
            window_block: 0,
            bitmap: bitmap.into(),
        }
    }
}

fn is_address(record: &Record) -> bool {
    matches!(record.rdata, RData::A(_) | RData::AAAA(_))
}

fn packet(answers: Vec<Record>, beside: Vec<Record>) -> Option<Vec<u8>> {
    let mut packet = Packet::new_reply(0);
    packet.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
    (packet.answers, packet.additional_records) = (answers, beside);
    packet.build_bytes_vec_compressed().ok()
}

/// A question as it came.
#[derive(Debug)]
pub struct Query<'a>(Packet<'a>);

/// What is to be sent in answer, one packet a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Which unit answers, names and types, to tell whether the same went out a moment ago.
    pub what: Vec<String>,
    /// Whether others may answer too, so that it is sent a little later.
    pub shared: bool,
    /// The packet.
    pub bytes: Vec<u8>,
}

impl<'a> Query<'a> {
    /// Reads a packet; `None` where it is no question, or none that can be read.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let packet = Packet::parse(bytes).ok()?;
        (!packet.has_flags(PacketFlag::RESPONSE) && !packet.questions.is_empty())
            .then_some(Self(packet))
    }

    /// Somebody is about to take a name and asks whether it is free: such a question is answered at
    /// once.
    #[must_use]
    pub fn probes(&self) -> bool {
        !self.0.name_servers.is_empty()
    }

    /// What to say to the group.
    #[must_use]
    pub fn replies(&self, units: &[&Unit]) -> Vec<Reply> {
        let mut told: Vec<Record> = Vec::new();
        let of = |(index, unit): (usize, &&Unit)| {
            let (mut answers, beside) = self.of(unit);
            // Two instances of one meter are of one kind.
            answers.retain(|r| !told.contains(r));
            told.extend(answers.iter().cloned());
            let names = answers
                .iter()
                .map(|r| format!("{} {:?}", r.name, r.rdata.type_code()));
            let what = std::iter::once(index.to_string()).chain(names).collect();
            let shared = answers.iter().any(|r| matches!(r.rdata, RData::PTR(_)));
            let bytes = (!answers.is_empty())
                .then(|| packet(answers, beside))
                .flatten()?;
            Some(Reply {
                what,
                shared,
                bytes,
            })
        };
        units.iter().enumerate().filter_map(of).collect()
    }

    /// What to say to a resolver of plain DNS, which asks from another port and takes one packet to
    /// itself.
    #[must_use]
    pub fn plain_reply(&self, units: &[&Unit]) -> Option<Vec<u8>> {
        let (mut answers, mut beside): (Vec<Record>, Vec<Record>) = (Vec::new(), Vec::new());
        for (more, with) in units.iter().map(|unit| self.of(unit)) {
            let fresh: Vec<Record> = more.into_iter().filter(|r| !answers.contains(r)).collect();
            answers.extend(fresh);
            beside.extend(with);
        }
        if answers.is_empty() {
            return None;
        }
        let plain = |r: Record| Record {
            ttl: r.ttl.min(LEGACY_TTL),
            cache_flush: false,
            ..r
        };
        let mut reply = Packet::new_reply(self.0.id());
        reply.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
        reply.questions.clone_from(&self.0.questions);
        reply.answers = answers.into_iter().map(plain).collect();
        let short = reply.build_bytes_vec_compressed().ok()?;
        reply.additional_records = beside.into_iter().map(plain).collect();
        Some(
            reply
                .build_bytes_vec_compressed()
                .ok()
                .filter(|whole| whole.len() <= FRAME)
                .unwrap_or(short),
        )
    }

    /// The unit's answers that the asker does not name as known already, and what goes with them.
    fn of(&self, unit: &Unit) -> (Vec<Record>, Vec<Record>) {
        let (mut answers, mut beside): (Vec<Record>, Vec<Record>) = (Vec::new(), Vec::new());
        let known = |r: &Record| {
            self.0
                .answers
                .iter()
                .any(|k| k.ttl >= TTL / 2 && k.name == r.name && k.rdata == r.rdata)
        };
        for question in &self.0.questions {
            let (more, with) = unit.answers(question);
            let fresh: Vec<Record> = more
                .into_iter()
                .filter(|r| !known(r) && !answers.contains(r))
                .collect();
            if !fresh.is_empty() {
                answers.extend(fresh);
                beside.extend(with);
            }
        }
        let mut told: Vec<Record> = Vec::new();
        for record in beside {
            if !answers.contains(&record) && !told.contains(&record) {
                told.push(record);
            }
        }
        (answers, told)
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    pub(in crate::mdns) fn unit(instance: &str, host: &str) -> Unit {
        let txt = ["gen=2", "app=Pro3EM", "ver=1.7.5"].map(str::to_owned);
        let services = vec![(SHELLY, txt.to_vec())];
        Unit {
            instance: instance.into(),
            host: host.into(),
            port: 80,
            addresses: vec!["192.0.2.10".parse().unwrap()],
            services,
        }
    }

    /// A packet that asks for these.
    pub(in crate::mdns) fn asking<'a>(names: &[(&'a str, impl Into<QTYPE> + Copy)]) -> Packet<'a> {
        let mut packet = Packet::new_query(0);
        for (name, kind) in names {
            packet.questions.push(Question::new(
                Name::new(name).unwrap(),
                (*kind).into(),
                QCLASS::CLASS(CLASS::IN),
                false,
            ));
        }
        packet
    }

    pub(in crate::mdns) fn question(names: &[(&str, TYPE)]) -> Vec<u8> {
        asking(names).build_bytes_vec().unwrap()
    }

    /// A record in the words of the capture.
    fn said(record: &ResourceRecord<'_>) -> Value {
        let data = match &record.rdata {
            RData::PTR(PTR(name)) => name.to_string().into(),
            RData::SRV(s) => {
                serde_json::json!({"priority": s.priority, "weight": s.weight, "port": s.port, "target": s.target.to_string()})
            }
            RData::TXT(txt) => txt
                .iter_raw()
                .map(|(k, v)| {
                    format!(
                        "{}={}",
                        String::from_utf8_lossy(k),
                        String::from_utf8_lossy(v.unwrap_or_default())
                    )
                })
                .collect(),
            RData::A(a) => std::net::Ipv4Addr::from(a.address).to_string().into(),
            other => format!("{other:?}").into(),
        };
        serde_json::json!({
            "name": record.name.to_string(), "type": format!("{:?}", record.rdata.type_code()), "ttl": record.ttl, "class": "IN",
            "flush": record.cache_flush, "data": data,
        })
    }

    #[test]
    fn a_question_is_answered_as_a_pro_3em_1_7_5_answers_it() {
        let capture: Value = {
            let path = concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../tests/fixtures/mdns-1.7.5.json"
            );
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
        };
        let (id, named) = (
            unit("shellypro3em-02000000003e", "ShellyPro3EM-02000000003E"),
            unit("3EM Pro", "3EM-Pro"),
        );
        let query = question(&[(SHELLY, TYPE::PTR)]);
        let replies = Query::parse(&query).unwrap().replies(&[&id, &named]);
        let (mut answers, mut beside) = (Vec::new(), Vec::new());
        for reply in &replies {
            let packet = Packet::parse(&reply.bytes).unwrap();
            assert!(
                reply.shared
                    && packet.has_flags(PacketFlag::RESPONSE | PacketFlag::AUTHORITATIVE_ANSWER)
                    && packet.questions.is_empty()
            );
            answers.extend(packet.answers.iter().map(said));
            beside.extend(packet.additional_records.iter().map(said));
        }
        assert_eq!(Value::from(answers), capture["answers"]);
        assert_eq!(Value::from(beside), capture["additionals"]);
    }

    #[test]
    fn a_kind_is_told_once_whatever_is_of_it() {
        let (id, named) = (
            unit("shellypro3em-02000000003e", "ShellyPro3EM-02000000003E"),
            unit("3EM Pro", "3EM-Pro"),
        );
        let query = question(&[(KINDS, TYPE::PTR)]);
        let query = Query::parse(&query).unwrap();
        let replies = query.replies(&[&id, &named]);
        assert_eq!(replies.len(), 1);
        let plain = query.plain_reply(&[&id, &named]).unwrap();
        for bytes in [&replies[0].bytes, &plain] {
            assert_eq!(Packet::parse(bytes).unwrap().answers.len(), 1);
        }
    }

    #[test]
    fn announcement_and_goodbye_hold_the_same_records() {
        let unit = unit("shellypro3em-02000000003e", "ShellyPro3EM-02000000003E");
        let (hello, bye) = (unit.announcement().unwrap(), unit.goodbye().unwrap());
        let (hello, bye) = (Packet::parse(&hello).unwrap(), Packet::parse(&bye).unwrap());
        assert_eq!(
            hello.answers.iter().map(|r| r.ttl).collect::<Vec<_>>(),
            [TTL; 4]
        );
        assert_eq!(
            bye.answers.iter().map(|r| r.ttl).collect::<Vec<_>>(),
            [0; 4]
        );
        for (hello, bye) in hello.answers.iter().zip(&bye.answers) {
            assert_eq!(hello.name, bye.name);
            assert_eq!(hello.rdata, bye.rdata);
            assert_eq!(hello.cache_flush, bye.cache_flush);
        }
    }

    #[test]
    fn each_question_has_its_answer() {
        let unit = unit("shellypro3em-02000000003e", "ShellyPro3EM-02000000003E");
        let host = "SHELLYPRO3EM-02000000003e.local";
        let instance = "shellypro3em-02000000003e._shelly._tcp.local";
        let types = |asked: &[(&str, TYPE)]| {
            let query = question(asked);
            let replies = Query::parse(&query).unwrap().replies(&[&unit]);
            let one = |bytes: &[u8]| {
                let packet = Packet::parse(bytes).unwrap();
                let types = |records: &[ResourceRecord<'_>]| {
                    records
                        .iter()
                        .map(|r| format!("{:?}", r.rdata.type_code()))
                        .collect::<Vec<_>>()
                };
                (
                    types(&packet.answers).join(" "),
                    types(&packet.additional_records).join(" "),
                )
            };
            replies.first().map(|r| one(&r.bytes))
        };
        let both = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(types(&[(host, TYPE::A)]), both("A", ""));
        assert_eq!(
            types(&[(host, TYPE::AAAA)]),
            both("NSEC", "A"),
            "there is none"
        );
        assert_eq!(
            types(&[(host, TYPE::A), (host, TYPE::AAAA)]),
            both("A NSEC", "")
        );
        assert_eq!(types(&[(instance, TYPE::SRV)]), both("SRV", "A"));
        assert_eq!(
            types(&[(instance, TYPE::SRV), (instance, TYPE::TXT)]),
            both("SRV TXT", "A")
        );
        assert_eq!(types(&[(KINDS, TYPE::PTR)]), both("PTR", ""));
        assert_eq!(types(&[("other.local", TYPE::A)]), None);
        assert_eq!(
            types(&[(HTTP, TYPE::PTR)]),
            None,
            "this unit has no such service"
        );
    }

    #[test]
    fn what_the_asker_knows_is_not_repeated() {
        let unit = unit("shellypro3em-02000000003e", "ShellyPro3EM-02000000003E");
        let ask = |ttl| {
            let mut packet = asking(&[(SHELLY, TYPE::PTR)]);
            packet.answers.push(ResourceRecord {
                ttl,
                ..unit.records().remove(0)
            });
            let bytes = packet.build_bytes_vec().unwrap();
            Query::parse(&bytes).unwrap().replies(&[&unit]).len()
        };
        assert_eq!((ask(100), ask(60), ask(59)), (0, 0, 1));
    }

    #[test]
    fn a_plain_resolver_gets_one_short_lived_answer_to_itself() {
        let units = [unit("a", "a"), unit("b", "b")];
        let mut packet = asking(&[(SHELLY, TYPE::PTR)]);
        packet.set_id(4711);
        packet.questions[0].unicast_response = true;
        let bytes = packet.build_bytes_vec().unwrap();
        let reply = Query::parse(&bytes)
            .unwrap()
            .plain_reply(&[&units[0], &units[1]])
            .unwrap();
        let reply = Packet::parse(&reply).unwrap();
        assert_eq!(reply.id(), 4711);
        assert_eq!(reply.questions.len(), 1);
        assert_eq!(reply.answers.len(), 2);
        assert_eq!(reply.additional_records.len(), 6);
        assert!(
            reply
                .answers
                .iter()
                .chain(&reply.additional_records)
                .all(|r| r.ttl == LEGACY_TTL && !r.cache_flush)
        );
    }

    proptest! {
        #[test]
        fn no_bytes_of_a_stranger_end_it(bytes in prop::collection::vec(any::<u8>(), 0..600), flags in any::<bool>()) {
            let mut bytes = bytes;
            if flags && bytes.len() > 12 {
                bytes[2..12].copy_from_slice(&[0, 0, 0, 3, 0, 2, 0, 0, 0, 1]);
            }
            let unit = unit("a", "b");
            if let Some(query) = Query::parse(&bytes) {
                let _ = (query.probes(), query.replies(&[&unit]), query.plain_reply(&[&unit]));
            }
        }
    }
}
