//! A Modbus master: looks for what is there, then reads blocks by function 04.

use tokio::time::Instant;

use super::play::Play;
use crate::{
    Expect, Fault, Service, Step, client::registers::Master, judge::registers as judge,
    step::Verdict,
};

/// Where Victron's driver looks for components that a Pro 3EM of three phases does not have.
const ABSENT: [u16; 3] = [2040, 2020, 2000];
/// Exception 2: nothing is there.
const NO_ADDRESS: u8 = 2;
/// Exception 4: there is no value now.
const NO_VALUE: u8 = 4;

/// See the module.
pub async fn ask(play: &mut Play<'_>) {
    let target = play.target;
    let port = match &target.modbus {
        Service::On(ports) => ports.first().copied().unwrap_or(502),
        Service::Off(option) => {
            play.off(option, "Modbus TCP", Expect::Linked);
            return;
        }
    };
    let begin = Instant::now();
    let mut master = match Master::open(&target.host, port).await {
        Ok(master) => master,
        Err(fault) => {
            let verdict = Verdict::bad(fault);
            play.tell(Step::new(
                target.at(port),
                Expect::Linked,
                "",
                begin.elapsed(),
                verdict,
            ));
            return;
        }
    };
    let m = &mut master;
    read(play, m, 0, 6, Expect::Mac, |block, v| {
        let letters: String = block
            .iter()
            .flat_map(|word| word.to_be_bytes())
            .map(char::from)
            .collect();
        if !letters.chars().all(|c| c.is_ascii_hexdigit()) {
            v.fault(Fault::Differs {
                path: "0".into(),
                came: format!("{letters:?}").into(),
                wanted: "AABBCCDDEEFF".into(),
            });
        }
    })
    .await;
    let model = |block: &[u16], v: &mut Verdict| judge::text(block, "SPEM-003", "6", v);
    read(play, m, 6, 10, Expect::Model, model).await;
    if is_of_single_phases(m).await {
        nothing(play, m, 1000).await;
        nothing(play, m, 2060).await;
        read(play, m, 2000, 60, Expect::Phases, judge::em1).await;
        nothing(play, m, 1160).await;
        read(play, m, 2300, 60, Expect::Counters, judge::em1_energy).await;
        return;
    }
    for address in ABSENT {
        nothing(play, m, address).await;
    }
    read(play, m, 1000, 80, Expect::Phases, judge::em).await;
    nothing(play, m, 1080).await;
    read(play, m, 1160, 70, Expect::Counters, judge::energy).await;
}

/// Whether the meter has the registers of the profile `monophase`, three meters of one phase, and
/// not those of three phases. Of who has both, or none, those of three are asked.
async fn is_of_single_phases(master: &mut Master) -> bool {
    let mut there = [false; 2];
    for (there, from) in there.iter_mut().zip([1000, 2000]) {
        let asked = master.input(from, 2).await;
        *there = !matches!(asked, Ok(Err(NO_ADDRESS)) | Err(_));
    }
    there == [false, true]
}

async fn read(
    play: &mut Play<'_>,
    master: &mut Master,
    from: u16,
    count: u16,
    expected: Expect,
    judge: impl FnOnce(&[u16], &mut Verdict),
) {
    let begin = Instant::now();
    let mut verdict = Verdict::default();
    let came = match master.input(from, count).await {
        Ok(Ok(block)) => {
            judge(&block, &mut verdict);
            words(&block)
        }
        Ok(Err(code)) => {
            if code == NO_VALUE && expected == Expect::Phases {
                verdict.note(Fault::NoValue);
            } else {
                verdict.fault(Fault::Exception { code: code.into() });
            }
            format!("exception {code}")
        }
        Err(fault) => {
            verdict.fault(fault);
            String::new()
        }
    };
    let call = format!("FC 04, {from}–{}", from + count - 1);
    play.tell(Step::new(call, expected, &came, begin.elapsed(), verdict));
}

/// An address at which nothing may be.
async fn nothing(play: &mut Play<'_>, master: &mut Master, address: u16) {
    let begin = Instant::now();
    let mut verdict = Verdict::default();
    let came = match master.input(address, 2).await {
        Ok(Ok(block)) => {
            verdict.fault(Fault::NoException { address });
            words(&block)
        }
        Ok(Err(code)) => format!("exception {code}"),
        Err(fault) => {
            verdict.fault(fault);
            String::new()
        }
    };
    let call = format!("FC 04, {address}–{}", address + 1);
    play.tell(Step::new(
        call,
        Expect::NoRegisters,
        &came,
        begin.elapsed(),
        verdict,
    ));
}

fn words(block: &[u16]) -> String {
    let all: Vec<String> = block.iter().map(|word| format!("{word:04x}")).collect();
    all.join(" ")
}
