//! Modbus registers: the device's official map and the Python original's
//! (`docs/protocol/modbus.md`, `docs/decisions.md#a-phase-without-a-value`). Pure: function,
//! address and count to words or an exception.
//!
//! Official values take two registers, low word first; the original's, high word first. The two do
//! not overlap, so both can be served side by side.

use super::{Context, Device, Effect};
use config::{ModbusMap, Profile, StalePolicy};
use meter::{PhaseMinute, Served};
use vocab::{Fixed, Phase};

/// Read holding registers.
pub const READ_HOLDING: u8 = 0x03;
/// Read input registers.
pub const READ_INPUT: u8 = 0x04;
/// Write single register.
pub const WRITE_SINGLE: u8 = 0x06;
/// Write multiple registers.
pub const WRITE_MULTIPLE: u8 = 0x10;

/// The original's register that sets the counters to 0.
pub const RESET_REGISTER: u16 = 4200;

/// Why there are no words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exception {
    /// 01, illegal function.
    Function,
    /// 02, illegal data address.
    Address,
    /// 03, illegal data value.
    Value,
    /// 04, server device failure: no power value.
    Failure,
    /// Nothing at all is sent: no power value, with `stale = silent`.
    NoAnswer,
}

impl Exception {
    /// The exception code; none where nothing is sent.
    #[must_use]
    pub const fn code(self) -> Option<u8> {
        match self {
            Self::Function => Some(1),
            Self::Address => Some(2),
            Self::Value => Some(3),
            Self::Failure => Some(4),
            Self::NoAnswer => None,
        }
    }
}

/// A stretch of addresses that is read as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Info,
    Em,
    EmData,
    Em1,
    Em1Data,
    Legacy,
}

impl Block {
    const ALL: [Self; 6] = [
        Self::Info,
        Self::Em,
        Self::EmData,
        Self::Em1,
        Self::Em1Data,
        Self::Legacy,
    ];

    /// First and last address.
    const fn bounds(self) -> (u16, u16) {
        match self {
            Self::Info => (0, 47),
            Self::Em => (1000, 1079),
            Self::EmData => (1160, 1229),
            Self::Em1 => (2000, 2059),
            Self::Em1Data => (2300, 2359),
            Self::Legacy => (3000, 4200),
        }
    }

    /// Whether it is there: of the other profile's blocks and of a map that is off nothing is
    /// known.
    fn there(self, map: ModbusMap, profile: Profile) -> bool {
        match self {
            Self::Legacy => map != ModbusMap::Official,
            Self::Info => map != ModbusMap::Legacy,
            Self::Em | Self::EmData => map != ModbusMap::Legacy && profile == Profile::Triphase,
            Self::Em1 | Self::Em1Data => map != ModbusMap::Legacy && profile == Profile::Monophase,
        }
    }
}

/// Words of the wanted stretch; what lies outside is not written.
struct Window {
    start: u16,
    words: Vec<u16>,
    low_first: bool,
}

impl Window {
    fn word(&mut self, address: u16, value: u16) {
        if let Some(slot) = address
            .checked_sub(self.start)
            .and_then(|i| self.words.get_mut(usize::from(i)))
        {
            *slot = value;
        }
    }

    fn flag(&mut self, address: u16, on: bool) {
        self.word(address, u16::from(on));
    }

    fn u32(&mut self, address: u16, value: u32) {
        let (high, low) = ((value >> 16) as u16, (value & 0xFFFF) as u16);
        let (first, second) = if self.low_first {
            (low, high)
        } else {
            (high, low)
        };
        self.word(address, first);
        self.word(address + 1, second);
    }

    fn f32(&mut self, address: u16, value: Option<f64>) {
        // One bit pattern for every missing value, whatever the host makes of NaN.
        self.u32(address, value.map_or(0x7FC0_0000, |v| (v as f32).to_bits()));
    }

    /// Text, zero padded; first character in the low byte on the official map, in the high byte on
    /// the other.
    fn text(&mut self, address: u16, registers: u16, text: &str) {
        let bytes = text.as_bytes();
        for i in 0..registers {
            let at = usize::from(i) * 2;
            let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
            let pair = [byte(at), byte(at + 1)];
            self.word(
                address + i,
                if self.low_first {
                    u16::from_le_bytes(pair)
                } else {
                    u16::from_be_bytes(pair)
                },
            );
        }
    }
}

/// Whether a read that begins there carries power, not only identity or energy.
#[must_use]
pub fn carries_power(address: u16) -> bool {
    Block::ALL.iter().any(|block| {
        let (first, last) = block.bounds();
        (first..=last).contains(&address)
            && match block {
                Block::Em | Block::Em1 => true,
                Block::Legacy => address < 3036,
                Block::Info | Block::EmData | Block::Em1Data => false,
            }
    })
}

/// Which power a read holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerRead {
    /// That of the house: the total, or several phases.
    Whole,
    /// That of one phase.
    Phase(u8),
}

/// Registers of a power, two words each: of the total where there is one, and of the phases.
const POWERS: [(Option<u16>, [u16; 3]); 3] = [
    (Some(1013), [1024, 1044, 1064]),
    (None, [2007, 2027, 2047]),
    (Some(3026), [3020, 3022, 3024]),
];

/// Which power these registers hold, if any.
#[must_use]
pub fn power_read(address: u16, count: u16) -> Option<PowerRead> {
    let end = u32::from(address) + u32::from(count);
    let covers = |register: u16| {
        let register = u32::from(register);
        register < end && register + 1 >= u32::from(address)
    };
    POWERS.iter().find_map(|(total, phases)| {
        let mut read = (0_u8..).zip(phases).filter(|(_, at)| covers(**at));
        match (total.is_some_and(covers), read.next(), read.next()) {
            (true, ..) | (_, Some(_), Some(_)) => Some(PowerRead::Whole),
            (false, Some((phase, _)), None) => Some(PowerRead::Phase(phase)),
            (false, None, _) => None,
        }
    })
}

/// Answers a read. The context's view is the unscaled one: shares never touch Modbus.
///
/// # Errors
/// The exception that the device answers.
pub fn read(
    device: &Device,
    context: &Context,
    map: ModbusMap,
    function: u8,
    address: u16,
    count: u16,
) -> Result<Vec<u16>, Exception> {
    let profile = context.state.profile;
    let at = |block: &&Block| {
        let (first, last) = block.bounds();
        block.there(map, profile) && (first..=last).contains(&address)
    };
    let block = Block::ALL.iter().find(at).copied();
    match function {
        READ_INPUT => {}
        READ_HOLDING if block == Some(Block::Legacy) => {}
        _ => return Err(Exception::Function),
    }
    if !(1..=125).contains(&count) {
        return Err(Exception::Value);
    }
    let block = block.ok_or(Exception::Address)?;
    let end = u32::from(address) + u32::from(count) - 1;
    if end > u32::from(block.bounds().1) {
        return Err(Exception::Address);
    }
    // Never NaN, which a Victron GX adds up as 0 W beside a meter that looks connected; an
    // exception takes the meter away.
    if carries_power(address) && missing(context, block, address, end) {
        return Err(if device.options.stale == StalePolicy::Silent {
            Exception::NoAnswer
        } else {
            Exception::Failure
        });
    }
    let mut window = Window {
        start: address,
        words: vec![0; usize::from(count)],
        low_first: block != Block::Legacy,
    };
    match block {
        Block::Info => info(&mut window, device, context),
        Block::Em => em(&mut window, context),
        Block::EmData => em_data(&mut window, context),
        Block::Em1 => em1(&mut window, context),
        Block::Em1Data => em1_data(&mut window, context),
        Block::Legacy => legacy(&mut window, device, context),
    }
    Ok(window.words)
}

/// Whether registers of this block, from `first` to `last`, would hold a power that there is not.
fn missing(context: &Context, block: Block, first: u16, last: u32) -> bool {
    let view = &context.view;
    if block != Block::Em1 {
        return view.stale();
    }
    // Three meters of their own: what one lacks keeps nobody from the others.
    (2000_u16..)
        .step_by(20)
        .zip(&view.phases)
        .any(|(base, served)| served.is_none() && first < base + 20 && last >= u32::from(base))
}

/// Answers a write: only 1 to register 4200 does anything, and only with `modbus_reset` and without
/// a password.
///
/// # Errors
/// The exception that the device answers.
pub fn write(
    device: &Device,
    map: ModbusMap,
    reset: bool,
    function: u8,
    address: u16,
    values: &[u16],
) -> Result<Vec<Effect>, Exception> {
    let allowed = reset && map != ModbusMap::Official && !device.options.read_only;
    if !allowed || !matches!(function, WRITE_SINGLE | WRITE_MULTIPLE) {
        return Err(Exception::Function);
    }
    if values.is_empty() || values.len() > 123 {
        return Err(Exception::Value);
    }
    if address != RESET_REGISTER || values.len() != 1 {
        return Err(Exception::Address);
    }
    if values != [1] {
        return Err(Exception::Value);
    }
    Ok(vec![Effect::ResetCounters])
}

fn info(w: &mut Window, device: &Device, context: &Context) {
    w.text(0, 6, &device.identity.mac);
    w.text(6, 10, &device.identity.model);
    w.text(16, 32, context.state.name.as_deref().unwrap_or(""));
}

/// Unix seconds as the registers hold them.
fn stamp(unix: i64) -> u32 {
    u32::try_from(unix).unwrap_or(0)
}

/// When the values were reported, which is not when they were asked for: 0 before the first.
fn updated(unix: Option<f64>) -> u32 {
    stamp(unix.map_or(0, |unix| unix.floor() as i64))
}

/// A phase's values, voltage at `base`.
fn phase(w: &mut Window, base: u16, served: Option<&Served>) {
    let mut put = |offset, get: fn(&Served) -> f64| w.f32(base + offset, served.map(get));
    put(0, |p| p.voltage.get());
    put(2, |p| p.current.get());
    put(4, |p| p.act_power.get());
    put(6, |p| p.aprt_power.get());
    put(8, |p| p.pf.get());
    put(13, |p| p.freq.get());
}

fn em(w: &mut Window, context: &Context) {
    let view = &context.view;
    w.u32(1000, updated(view.reported_at(None)));
    w.f32(1007, view.n_current.map(Fixed::get));
    w.f32(1011, view.totals.map(|t| t.current.get()));
    w.f32(1013, view.totals.map(|t| t.act_power.get()));
    w.f32(1015, view.totals.map(|t| t.aprt_power.get()));
    for (i, served) in (0u16..).zip(&view.phases) {
        w.flag(1002 + i, served.is_none());
        phase(w, 1020 + 20 * i, served.as_ref());
    }
}

fn em1(w: &mut Window, context: &Context) {
    let view = &context.view;
    for (i, (served, of)) in (0u16..).zip(view.phases.iter().zip(Phase::ALL)) {
        let base = 2000 + 20 * i;
        w.u32(base, updated(view.reported_at(Some(of))));
        w.flag(base + 2, served.is_none());
        phase(w, base + 3, served.as_ref());
    }
}

/// Wh as served: 2 decimals.
fn wh(energy: f64) -> f64 {
    Fixed::<2>::round(energy).get()
}

/// The newest record's energies of a phase as `of` lists them, zeros while there is none, and then
/// its counters; from `base` on, two words each.
fn energies<const N: usize>(
    w: &mut Window,
    context: &Context,
    base: u16,
    phase: usize,
    of: fn(&PhaseMinute) -> [f64; N],
) {
    let record = context.view.record.as_deref();
    let minute = record.map_or_else(PhaseMinute::default, |r| r.phases[phase]);
    let counter = context.view.energy.map(|e| e.phases[phase]);
    let energies = of(&minute).map(|energy| Some(Fixed::<4>::round(energy).get()));
    let counters = [counter.map(|c| wh(c.import)), counter.map(|c| wh(c.export))];
    for (at, value) in (base..)
        .step_by(2)
        .zip(energies.into_iter().chain(counters))
    {
        w.f32(at, value);
    }
}

/// When the newest record begins.
fn recorded(context: &Context) -> u32 {
    stamp(context.view.record.as_ref().map_or(0, |r| r.ts))
}

fn em_data(w: &mut Window, context: &Context) {
    let total = context.view.energy_totals();
    w.u32(1160, recorded(context));
    w.f32(1162, total.map(|t| wh(t.import)));
    w.f32(1164, total.map(|t| wh(t.export)));
    for (i, base) in (1170..).step_by(20).take(3).enumerate() {
        energies(w, context, base, i, |minute| {
            let (import, export) = (minute.act_energy, minute.act_ret_energy);
            [import, import, export, export, minute.lag_react_energy, 0.0]
        });
    }
}

fn em1_data(w: &mut Window, context: &Context) {
    for (i, base) in (2300..).step_by(20).take(3).enumerate() {
        w.u32(base, recorded(context));
        energies(w, context, base + 2, i, |minute| {
            let (import, export) = (minute.act_energy, minute.act_ret_energy);
            [import, export, minute.lag_react_energy, 0.0]
        });
    }
}

fn legacy(w: &mut Window, device: &Device, context: &Context) {
    let view = &context.view;
    w.f32(
        3000,
        view.phases.iter().flatten().next().map(|p| p.freq.get()),
    );
    for (i, phase) in (0u16..).zip(&view.phases) {
        let put = |w: &mut Window, base: u16, get: fn(&Served) -> f64| {
            w.f32(base + 2 * i, phase.as_ref().map(get));
        };
        put(w, 3002, |p| p.voltage.get());
        put(w, 3010, |p| p.current.get());
        put(w, 3020, |p| p.act_power.get());
        put(w, 3030, |p| p.pf.get());
        let counter = view.energy.map(|e| e.phases[usize::from(i)]);
        w.f32(3100 + 2 * i, counter.map(|c| wh(c.import) / 1000.0));
        w.f32(3106 + 2 * i, counter.map(|c| wh(c.export) / 1000.0));
    }
    w.f32(3026, view.totals.map(|t| t.act_power.get()));
    let total = view.energy_totals();
    w.f32(3112, total.map(|t| wh(t.import) / 1000.0));
    w.f32(3114, total.map(|t| wh(t.export) / 1000.0));
    w.u32(3200, stamp(context.now.unix_s()));
    w.u32(3202, u32::try_from(context.uptime_s).unwrap_or(u32::MAX));
    w.text(3300, 8, &device.identity.id);
    w.text(3310, 6, &device.identity.model);
    w.text(3320, 6, &device.identity.ver);
    w.text(3330, 6, &device.identity.mac);
    w.word(3400, 1);
    w.word(3401, 3);
}
