//! Who the device is (`shelly-pro-3em.md` section 1).

/// Identity as announced on every channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `shellypro3em-aabbccddeeff`.
    pub id: String,
    /// 12 capitals.
    pub mac: String,
    /// `SPEM-003CEBEU`.
    pub model: String,
    /// `Pro3EM`.
    pub app: String,
    /// 2.
    pub generation: u8,
    /// `20250508-110717/1.6.1-g8dbd358`.
    pub fw_id: String,
    /// `1.6.1`.
    pub ver: String,
    /// Overview only.
    pub sn: Option<String>,
    /// Overview only.
    pub manufacturer: Option<String>,
}
