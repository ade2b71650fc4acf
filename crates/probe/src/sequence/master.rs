//! A Modbus master: looks for what is there, then reads blocks by function 04.

use tokio::time::Instant;

use super::play::Play;
use crate::{Expect, Fault, client::registers::Master, judge::registers as judge, step::Verdict};

/// Where Victron's driver looks for components that a Pro 3EM of three phases does not have.
const ABSENT: [u16; 3] = [2040, 2020, 2000];
/// Exception 2: nothing is there.
const NO_ADDRESS: u8 = 2;
/// Exception 4: there is no value now.
const NO_VALUE: u8 = 4;

/// See the module.
pub async fn ask(play: &mut Play<'_>) {
    let target = play.target;
    let port = match target.modbus.port() {
        Ok(port) => port,
        Err(option) => return play.off(option, "Modbus TCP", Expect::Linked),
    };
    let begin = Instant::now();
    let mut master = match Master::open(&target.host, port).await {
        Ok(master) => master,
        Err(fault) => {
            let verdict = Verdict::bad(fault);
            return play.ended(target.at(port), Expect::Linked, "", begin, verdict);
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
            v.differs("0", format!("{letters:?}"), "AABBCCDDEEFF");
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
    let phases = expected == Expect::Phases;
    registers(
        play,
        master,
        from,
        count,
        expected,
        |answer, v| match answer {
            Ok(block) => judge(block, v),
            Err(NO_VALUE) if phases => v.note(Fault::NoValue),
            Err(code) => v.fault(Fault::Exception { code: code.into() }),
        },
    )
    .await;
}

/// An address at which nothing may be.
async fn nothing(play: &mut Play<'_>, master: &mut Master, address: u16) {
    registers(
        play,
        master,
        address,
        2,
        Expect::NoRegisters,
        |answer, v| {
            if answer.is_ok() {
                v.fault(Fault::NoException { address });
            }
        },
    )
    .await;
}

/// Registers, or the number of an exception, judged.
async fn registers(
    play: &mut Play<'_>,
    master: &mut Master,
    from: u16,
    count: u16,
    expected: Expect,
    judge: impl FnOnce(Result<&[u16], u8>, &mut Verdict),
) {
    let begin = Instant::now();
    let mut verdict = Verdict::default();
    let mut came = String::new();
    if let Some(answer) = verdict.take(master.input(from, count).await) {
        judge(answer.as_deref().map_err(|code| *code), &mut verdict);
        came = match answer {
            Ok(block) => {
                let words: Vec<String> = block.iter().map(|word| format!("{word:04x}")).collect();
                words.join(" ")
            }
            Err(code) => format!("exception {code}"),
        };
    }
    let call = format!("FC 04, {from}–{}", from + count - 1);
    play.ended(call, expected, &came, begin, verdict);
}
