//! In what firmware versions differ: one whole set a version of which captures are known, and which
//! of them a version is served with.
//!
//! What stands in a set was seen in a capture of that version (`tests/fixtures/dumps/`). Where a
//! set has a member that a virtual device has no value for, the value is the one of a device that
//! does not use it.

use vocab::{BuildId, Version};

/// One version as its captures show it.
#[derive(Debug, PartialEq, Eq)]
pub struct FirmwareSet {
    /// `ver`.
    pub ver: &'static str,
    /// Build id, `fw_id`.
    pub fw_id: &'static str,
    /// Device info ends with `provision`.
    pub provision: bool,
    /// The members that came with 2.0: `enhanced_security`, `tls_check_cert_validity_time`,
    /// `debug.file_log`.
    pub security: bool,
    /// `wifi` status names the access point's `bssid`.
    pub bssid: bool,
    /// `em:0` and `em1:n` have `alarms` in their configuration.
    pub alarms: bool,
    /// `ble` can be switched off (`enable`), and `bthome` says so.
    pub ble_switch: bool,
    /// A nonce is text of 64 characters, and a challenge over a frame has no `nc`; before it is a
    /// number and `nc` is 1.
    pub text_nonce: bool,
    /// `sys.ram_size`.
    pub ram_size: u32,
    /// `sys.ram_free`.
    pub ram_free: u32,
    /// `sys.ram_min_free`.
    pub ram_min_free: u32,
    /// `sys.fs_free`.
    pub fs_free: u32,
}

impl FirmwareSet {
    /// Its build id.
    fn build(&self) -> BuildId {
        BuildId::from_static(self.fw_id)
    }
}

/// Every set, oldest first.
pub static SETS: [FirmwareSet; 3] = [
    FirmwareSet {
        ver: "1.6.1",
        fw_id: "20250508-110717/1.6.1-g8dbd358",
        provision: false,
        security: false,
        bssid: false,
        alarms: false,
        ble_switch: true,
        text_nonce: false,
        ram_size: 247_524,
        ram_free: 113_080,
        ram_min_free: 97_524,
        fs_free: 180_224,
    },
    FirmwareSet {
        ver: "1.7.5",
        fw_id: "20260311-095913/1.7.5-g9979d16",
        provision: true,
        security: false,
        bssid: true,
        alarms: false,
        ble_switch: true,
        text_nonce: false,
        ram_size: 244_344,
        ram_free: 115_368,
        ram_min_free: 78_952,
        fs_free: 188_416,
    },
    FirmwareSet {
        ver: "2.0.1",
        fw_id: "20260923-075715/2.0.1-ge1a198b",
        provision: true,
        security: true,
        bssid: true,
        alarms: true,
        ble_switch: false,
        text_nonce: true,
        ram_size: 262_912,
        ram_free: 116_912,
        ram_min_free: 89_412,
        fs_free: 155_648,
    },
];

/// The set without option `firmware`: what a Pro 3EM came with or was updated to, of which a whole
/// capture is known.
pub static DEFAULT: &FirmwareSet = &SETS[1];

/// A version as identity says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firmware {
    /// The set that is answered.
    pub set: &'static FirmwareSet,
    /// `ver`.
    pub ver: Version,
    /// `fw_id`. Never made up: the option's, or the set's own.
    pub fw_id: BuildId,
    /// What the owner should know of it, one line each.
    pub remarks: Vec<String>,
}

impl Firmware {
    /// The firmware by the options `firmware` and `fw_id`.
    #[must_use]
    pub fn new(ver: Option<&Version>, fw_id: Option<&BuildId>) -> Self {
        let mut remarks = Vec::new();
        let of_id = fw_id.map(BuildId::version);
        let wanted = ver.or(of_id.as_ref());
        let wanted = wanted.cloned().unwrap_or_else(|| DEFAULT.build().version());
        let set = nearest(&wanted);
        if set.ver != &*wanted {
            let id = if fw_id.is_some() {
                String::new()
            } else {
                format!(
                    ", with its build id {}: option fw_id gives another",
                    set.fw_id
                )
            };
            let known: Vec<&str> = SETS.iter().map(|s| s.ver).collect();
            remarks.push(format!(
                "firmware {wanted}: known are {}, so it is answered as {} under this version{id}",
                known.join(", "),
                set.ver
            ));
        }
        if let (Some(ver), Some(of_id), Some(fw_id)) = (ver, &of_id, fw_id)
            && ver != of_id
        {
            remarks.push(format!(
                "firmware is {ver}, but fw_id = {fw_id} names {of_id}: readers that compare them refuse the meter; set one of the two"
            ));
        }
        Self {
            set,
            ver: wanted,
            fw_id: fw_id.cloned().unwrap_or_else(|| set.build()),
            remarks,
        }
    }
}

/// The set of the same minor version, else the newest that is not newer, else the oldest.
fn nearest(ver: &str) -> &'static FirmwareSet {
    let minor = |ver: &str| {
        let mut parts = ver.split('.').map(|part| {
            part.bytes()
                .take_while(u8::is_ascii_digit)
                .fold(0_u32, |n, digit| {
                    n.saturating_mul(10).saturating_add(u32::from(digit - b'0'))
                })
        });
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    };
    SETS.iter()
        .rev()
        .find(|set| minor(set.ver) <= minor(ver))
        .unwrap_or(&SETS[0])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn another_version_is_answered_by_its_neighbour_and_its_build_id_is_never_made_up() {
        for (wanted, set) in [
            ("1.6.1", "1.6.1"),
            ("1.7.1", "1.7.5"),
            ("1.7.5", "1.7.5"),
            ("1.8.3", "1.7.5"),
            ("2.0.0", "2.0.1"),
            ("2.0.1", "2.0.1"),
            ("1.4.4", "1.6.1"),
            ("0.14.2", "1.6.1"),
            ("17.0", "2.0.1"),
        ] {
            let firmware = Firmware::new(Version::parse(wanted).as_ref(), None);
            assert_eq!(firmware.set.ver, set, "{wanted}");
            assert_eq!(firmware.ver.as_str(), wanted);
            assert_eq!(firmware.fw_id.as_str(), firmware.set.fw_id, "{wanted}");
            assert_eq!(
                firmware.remarks.len(),
                usize::from(set != wanted),
                "{:?}",
                firmware.remarks
            );
        }
    }

    #[test]
    fn a_build_id_brings_its_version_and_one_that_contradicts_is_named() {
        let id = BuildId::from_static("20250924-062729/1.7.1-gd336f31");
        let firmware = Firmware::new(None, Some(&id));
        assert_eq!(firmware.set.ver, "1.7.5");
        assert_eq!(firmware.ver.as_str(), "1.7.1");
        assert_eq!(firmware.fw_id, id);
        let firmware = Firmware::new(Version::parse("2.0.1").as_ref(), Some(&id));
        assert_eq!(firmware.set.ver, "2.0.1");
        assert_eq!(firmware.fw_id, id);
        assert_eq!(firmware.remarks.len(), 1, "{:?}", firmware.remarks);
    }

    #[test]
    fn without_options_it_is_the_default_set_as_captured() {
        let plain = Firmware::new(None, None);
        assert_eq!(plain.ver.as_str(), "1.7.5");
        assert_eq!(plain.fw_id.as_str(), "20260311-095913/1.7.5-g9979d16");
        assert!(plain.remarks.is_empty(), "{:?}", plain.remarks);
    }

    #[test]
    fn each_set_is_of_the_version_that_its_build_id_names() {
        for set in &SETS {
            assert_eq!(set.build().version().as_str(), set.ver);
        }
    }

    proptest! {
        #[test]
        fn any_version_has_a_set(ver in r"[0-9]{1,5}(\.[0-9]{1,5}){1,3}") {
            let firmware = Firmware::new(Version::parse(&ver).as_ref(), None);
            prop_assert_eq!(firmware.ver.as_str(), ver);
            prop_assert!(SETS.iter().any(|set| std::ptr::eq(set, firmware.set)));
        }
    }
}
