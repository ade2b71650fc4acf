//! One RPC method, and one call of it.

use config::Profile;

use super::{answer::Handled, context::Context, device::Device, params::Params};

/// One call on its way.
pub(super) struct Call<'a> {
    /// The device asked.
    pub(super) device: &'a Device,
    /// What it sees.
    pub(super) context: &'a Context<'a>,
    /// All methods that there are.
    pub(super) methods: &'static [&'static [Method]],
    /// What it was given.
    pub(super) params: Params,
}

/// Whose power an answer carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// The house's.
    House,
    /// That of the phase asked; the house's in triphase on a channel that has it in its place
    /// ([`super::context::Manner::em1_is_total`]).
    Phase,
}

/// One RPC method, and all there is to know of it before it is called.
#[derive(Debug)]
pub struct Method {
    /// The device's own spelling.
    pub name: &'static str,
    /// It is answered without the password, where one is set.
    pub open: bool,
    /// It changes something: error 403 with `read_only`. What has an effect is marked so.
    pub writes: bool,
    /// It reads minute records and may block on a disk for some ms: transports run it off their
    /// loop.
    pub disk: bool,
    /// Its answer carries power: who calls it is a reader (`docs/decisions.md#shares`).
    pub power: Option<Power>,
    /// Its answer follows from the request and the snapshot and settings it is made from, and not
    /// from the time: it can be given again while those stay.
    pub steady: bool,
    pub(super) handler: fn(&Call<'_>) -> Handled,
    profile: Option<Profile>,
    pub(super) listed: bool,
}

/// The method of a call, or the name that is none's.
pub type Found<'a> = Result<&'static Method, &'a str>;

impl Method {
    /// A method that reads, listed in both profiles.
    pub(super) const fn new(name: &'static str, handler: fn(&Call<'_>) -> Handled) -> Self {
        Self {
            name,
            open: false,
            writes: false,
            disk: false,
            power: None,
            steady: false,
            handler,
            profile: None,
            listed: true,
        }
    }

    /// With `open` set.
    pub(super) const fn open(mut self) -> Self {
        self.open = true;
        self
    }

    /// There only in one profile.
    pub(super) const fn only(mut self, profile: Profile) -> Self {
        self.profile = Some(profile);
        self
    }

    /// Answered, but not in `Shelly.ListMethods`.
    pub(super) const fn unlisted(mut self) -> Self {
        self.listed = false;
        self
    }

    /// With `writes` set.
    pub(super) const fn writes(mut self) -> Self {
        self.writes = true;
        self
    }

    /// With `disk` set.
    pub(super) const fn disk(mut self) -> Self {
        self.disk = true;
        self
    }

    /// With `power` set.
    pub(super) const fn carries(mut self, power: Power) -> Self {
        self.power = Some(power);
        self
    }

    /// With `steady` set.
    pub(super) const fn steady(mut self) -> Self {
        self.steady = true;
        self
    }

    pub(super) fn there(&self, profile: Profile) -> bool {
        self.profile.is_none_or(|p| p == profile)
    }
}
