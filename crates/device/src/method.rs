//! One RPC method, and one call of it.

use config::Profile;

use super::{
    Json, RpcError,
    answer::{Handled, text},
    context::Context,
    device::Device,
    params::Params,
};

/// One call on its way.
pub(super) struct Call<'a> {
    /// The device asked.
    pub(super) device: &'a Device,
    /// What it sees.
    pub(super) context: &'a Context,
    /// All methods that there are.
    pub(super) methods: &'static [&'static [Method]],
    /// What it was given.
    pub(super) params: Params,
    /// The instance asked for; 0 where there is one only.
    pub(super) id: usize,
}

/// Text of a component's status or configuration; the number is the instance.
pub(super) type Part = fn(&Device, &Context, usize) -> Json;

/// What a method answers with.
#[derive(Clone, Copy, Debug)]
enum Handler {
    /// The same JSON text each time.
    Fixed(&'static str),
    /// -109 with this text.
    Refused(&'static str),
    /// A part of a component, as `Shelly.GetStatus` and `Shelly.GetConfig` hold it.
    Part(Part),
    /// Whatever this makes of the call.
    Call(fn(&Call<'_>) -> Handled),
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
#[derive(Clone, Copy, Debug)]
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
    handler: Handler,
    profile: Option<Profile>,
    instances: Option<usize>,
    pub(super) listed: bool,
}

/// The method of a call, or the name that is none's.
pub type Found<'a> = Result<&'static Method, &'a str>;

impl Method {
    /// A method that reads, listed in both profiles.
    pub(super) const fn new(name: &'static str, handler: fn(&Call<'_>) -> Handled) -> Self {
        Self::with(name, Handler::Call(handler))
    }

    /// One that gives a component's status or configuration.
    pub(super) const fn part(name: &'static str, part: Part) -> Self {
        Self::with(name, Handler::Part(part))
    }

    /// One whose result is always this JSON text.
    pub(super) const fn fixed(name: &'static str, result: &'static str) -> Self {
        Self::with(name, Handler::Fixed(result))
    }

    /// One that would change something and is refused with this text.
    pub(super) const fn refused(name: &'static str, why: &'static str) -> Self {
        Self::with(name, Handler::Refused(why)).writes()
    }

    /// One about an object of which there are none: every id is unknown.
    pub(super) const fn of_none(name: &'static str) -> Self {
        Self::fixed(name, "null").instances(0)
    }

    const fn with(name: &'static str, handler: Handler) -> Self {
        Self {
            name,
            open: false,
            writes: false,
            disk: false,
            power: None,
            steady: false,
            handler,
            profile: None,
            instances: None,
            listed: true,
        }
    }

    /// With `open` set.
    pub(super) const fn open(mut self) -> Self {
        self.open = true;
        self
    }

    /// There only in one profile.
    const fn only(mut self, profile: Profile) -> Self {
        self.profile = Some(profile);
        self
    }

    /// About one of so many instances, by `id`.
    pub(super) const fn instances(mut self, count: usize) -> Self {
        self.instances = Some(count);
        self
    }

    /// Each of these about the house: one instance, in triphase only.
    pub(super) const fn of_house<const N: usize>(methods: [Self; N]) -> [Self; N] {
        Self::each_of(methods, Profile::Triphase, 1)
    }

    /// Each of these about one of three channels, in monophase only.
    pub(super) const fn of_channels<const N: usize>(methods: [Self; N]) -> [Self; N] {
        Self::each_of(methods, Profile::Monophase, 3)
    }

    const fn each_of<const N: usize>(
        mut methods: [Self; N],
        profile: Profile,
        count: usize,
    ) -> [Self; N] {
        let mut at = 0;
        while at < N {
            methods[at] = methods[at].only(profile).instances(count);
            at += 1;
        }
        methods
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

    /// Answers a call of it.
    ///
    /// # Errors
    /// The device's, of an `id` that is none and of the method itself.
    pub(super) fn handle(&self, mut call: Call<'_>) -> Handled {
        if let Some(count) = self.instances {
            // What a channel has in the place of the house's is one.
            let own = self.there(call.context.state.profile);
            let count = if own { count } else { 1 };
            call.id = call.params.instance(count)?;
        }
        match self.handler {
            Handler::Fixed(result) => text(result),
            Handler::Refused(why) => Err(RpcError::refused(why)),
            Handler::Part(part) => text(part(call.device, call.context, call.id)),
            Handler::Call(handler) => handler(&call),
        }
    }
}
