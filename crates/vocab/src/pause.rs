/// What readers are told during a pause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PauseKind {
    /// Each what suits the product that it is: nothing, or 0 W.
    #[default]
    Profile,
    /// Nothing: each sees what it sees while the source is gone.
    Nothing,
    /// 0 W, every one of them.
    Zero,
}

impl PauseKind {
    /// All, in the order in which they are offered.
    pub const ALL: [Self; 3] = [Self::Profile, Self::Nothing, Self::Zero];
}
