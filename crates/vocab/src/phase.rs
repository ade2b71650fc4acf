//! The phases of a meter.

/// A phase of the meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// L1.
    A,
    /// L2.
    B,
    /// L3.
    C,
}

impl Phase {
    /// All three, in order.
    pub const ALL: [Self; 3] = [Self::A, Self::B, Self::C];

    /// 0, 1 or 2.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// `a`, `b` or `c`, as the device's keys begin.
    #[must_use]
    pub const fn letter(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
            Self::C => "c",
        }
    }
}
