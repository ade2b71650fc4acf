//! Modbus registers: 32 bits in two, the low word first.

use super::Verdict;
use crate::Fault;

/// What a phase of any mains has, V.
const VOLTS: std::ops::RangeInclusive<f32> = 80.0..=300.0;
/// How far a total may be from the sum of its phases, W.
const SUM_W: f32 = 1.0;

/// The number at `at` of a block, low word first.
#[must_use]
pub fn float(block: &[u16], at: usize) -> Option<f32> {
    let (low, high) = (block.get(at)?, block.get(at + 1)?);
    Some(f32::from_bits(u32::from(*high) << 16 | u32::from(*low)))
}

/// Letters of a text register, whichever byte comes first.
pub fn text(block: &[u16], wanted: &str, path: &str, verdict: &mut Verdict) {
    let read = |order: fn(u16) -> [u8; 2]| {
        let bytes: Vec<u8> = block.iter().flat_map(|word| order(*word)).collect();
        String::from_utf8_lossy(&bytes)
            .trim_end_matches('\0')
            .to_owned()
    };
    let both = [read(u16::to_be_bytes), read(u16::to_le_bytes)];
    if !both.iter().any(|text| text.starts_with(wanted)) {
        verdict.differs(path, format!("{:?}", both[0]), wanted);
    }
}

/// Where voltage, current and power of a phase stand.
type Places = [(usize, usize, usize); 3];
const EM: Places = [(1020, 1022, 1024), (1040, 1042, 1044), (1060, 1062, 1064)];
const EM1: Places = [(2003, 2005, 2007), (2023, 2025, 2027), (2043, 2045, 2047)];

/// The block of `em:0` from 1000 on, 80 registers.
pub fn em(block: &[u16], verdict: &mut Verdict) {
    let at = |address: usize| float(block, address - 1000);
    if !phases(block, 1000, &EM, verdict) {
        return;
    }
    let powers = EM.map(|(_, _, watts)| at(watts));
    if let (Some(total), [Some(a), Some(b), Some(c)]) = (at(1013), powers)
        && (total - (a + b + c)).abs() > SUM_W
    {
        verdict.sum("1013", total.to_string(), (a + b + c).to_string());
    }
}

/// The blocks of `em1:0` to `em1:2` from 2000 on, 60 registers. There is no total in this profile.
pub fn em1(block: &[u16], verdict: &mut Verdict) {
    phases(block, 2000, &EM1, verdict);
}

/// Judges each phase of a block that begins at `from`; whether there is a value to judge further.
fn phases(block: &[u16], from: usize, places: &Places, verdict: &mut Verdict) -> bool {
    let at = |address: usize| float(block, address - from);
    for (address, ..) in *places {
        let Some(volts) = at(address) else { continue };
        let name = u16::try_from(address).unwrap_or(u16::MAX);
        if volts.is_nan() {
            verdict.fault(Fault::NotANumber { address: name });
        } else if !VOLTS.contains(&volts) && volts != 0.0 {
            let swapped = f32::from_bits(volts.to_bits().rotate_left(16));
            verdict.fault(if VOLTS.contains(&swapped) {
                Fault::WordOrder { address: name }
            } else {
                Fault::Implausible {
                    address: name,
                    came: format!("{volts:e} V").into(),
                }
            });
        }
    }
    if !verdict.faults.is_empty() {
        return false;
    }
    if places.iter().all(|(volts, ..)| at(*volts) == Some(0.0)) {
        verdict.fault(Fault::NoVolts);
        return false;
    }
    for (volts, amps, watts) in *places {
        if let (Some(volts), Some(amps), Some(power)) = (at(volts), at(amps), at(watts))
            && volts * amps > 5.0
            && (0.5..2.0).contains(&(power.abs() * 1000.0 / (volts * amps)))
        {
            verdict.fault(Fault::Kilowatts {
                path: watts.to_string().into(),
                came: power.to_string().into(),
                volts: format!("{:.0}", volts * amps).into(),
            });
        }
    }
    true
}

/// The block of `emdata:0` from 1160 on, 70 registers.
pub fn energy(block: &[u16], verdict: &mut Verdict) {
    let at = |address: usize| float(block, address - 1160);
    for (total, phases) in [(1162, [1182, 1202, 1222]), (1164, [1184, 1204, 1224])] {
        let sum: Option<f32> = phases.into_iter().map(at).sum();
        let Some((came, sum)) = at(total).zip(sum) else {
            continue;
        };
        if came < 0.0 {
            verdict.negative(&total.to_string(), came.to_string());
        } else if (came - sum).abs() > 1.0 + came.abs() * 1e-5 {
            verdict.sum(&total.to_string(), came.to_string(), sum.to_string());
        }
    }
}

/// The blocks of `em1data:0` to `em1data:2` from 2300 on, 60 registers.
pub fn em1_energy(block: &[u16], verdict: &mut Verdict) {
    for address in [2310, 2312, 2330, 2332, 2350, 2352] {
        if let Some(came) = float(block, address - 2300)
            && (came < 0.0 || came.is_nan())
        {
            verdict.negative(&address.to_string(), came.to_string());
        }
    }
}
