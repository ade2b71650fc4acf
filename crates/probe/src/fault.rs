//! What is wrong with an answer.

use std::sync::Arc;

use vocab::reason::{Cause, Quoted};

vocab::reasons! {
    /// What is wrong with an answer, or worth knowing of it.
    pub enum Fault {
        Off { option: &'static str } = "fault_off", "this channel is off by the option {option}";
        Unreached { error: Cause } = "fault_unreached", "no connection: {error}";
        Silent { seconds: u64 } = "fault_silent", "no answer within {seconds} s";
        Status { status: u16 } = "fault_status", "HTTP status {status}";
        Unreadable = "fault_unreadable", "this is no JSON object";
        Password = "fault_password", "the meter asks for a password: no battery and no GX can enter one";
        NoMethod { method: Arc<str> } = "fault_no_method", "there is no method {method}, and this reader stops without it";
        Refused { code: i64, text: Quoted } = "fault_refused", "an error in place of values: {code}, {text}";
        NoValue = "fault_no_value", "the meter has no value now and says so by an error, as it should: look at its source";
        NullForNone = "fault_null_for_none",
            "the meter has no value now and says null: this reader takes that for 0 W; an error would be right";
        NullUnderstood = "fault_null_understood",
            "the meter has no value now and says null, which this reader does not take for 0 W: look at its source";
        SilentForNone = "fault_silent_for_none",
            "the meter has no value now, and a battery is then left without an answer, as it should be: look at its source";
        NoVolts = "fault_no_volts",
            "every voltage is 0: this is no measurement, and 0 W in place of an error is a command to a battery";
        ErrorAsSuccess = "fault_error_as_success",
            "the error comes with HTTP status 200: who looks at the status alone, as evcc does, finds 0 W in it";
        ErrorForm = "fault_error_form", "an error needs a code and a message";
        OtherId { sent: Arc<str>, came: Arc<str> } = "fault_other_id",
            "the id comes back as {came} and not as {sent}: the reader takes it for the answer to something else";
        Framed = "fault_framed", "the result stands within a frame: at this address it is sent bare, and the reader finds 0 everywhere";
        Bare = "fault_bare", "the frame around the result (id, src, result) is missing";
        Missing { path: Arc<str> } = "fault_missing", "{path} is missing";
        Null { path: Arc<str> } = "fault_null", "{path} is null: this reader takes that for 0, or stops";
        NoNumber { path: Arc<str>, came: Quoted } = "fault_no_number", "{path} is {came}, which is no number";
        NoObject { path: Arc<str> } = "fault_no_object", "{path} is no object";
        Integer { path: Arc<str>, came: Arc<str> } = "fault_integer",
            "{path} is {came}, without a decimal point: a Marstek B2500 ignores that or restarts";
        Short { bytes: u64 } = "fault_short", "{bytes} bytes: a Venus on LAN drops what is shorter than 250";
        Sum { path: Arc<str>, came: Arc<str>, sum: Arc<str> } = "fault_sum", "{path} is {came}, but the phases add up to {sum}";
        Kilowatts { path: Arc<str>, came: Arc<str>, volts: Arc<str> } = "fault_kilowatts",
            "{path} is {came}, but voltage, current and power factor make {volts} W: this is in kW, the device sends W";
        KilowattHours { path: Arc<str>, came: Arc<str> } = "fault_kilowatt_hours",
            "{path} is {came}: this is in kWh, the device counts in Wh with two decimals";
        Negative { path: Arc<str>, came: Arc<str> } = "fault_negative", "{path} is {came}, and can never be below 0";
        Fell { path: Arc<str>, came: Arc<str> } = "fault_fell", "{path} fell to {came}: readers take that for a new meter";
        ZeroCounter = "fault_zero_counter", "the counter is exactly 0: a GX shows no energy until it has counted something";
        MethodArray = "fault_method_array", "the methods are a bare array, not an object that holds them: a GX stops here";
        Unlisted { method: Arc<str> } = "fault_unlisted", "{method} is not listed";
        OtherProfile { method: Arc<str> } = "fault_other_profile",
            "{method} is listed, which belongs to the other profile: evcc would read phase A only, a GX would look for three meters";
        Foreign { method: Arc<str> } = "fault_foreign", "{method} is listed, which a Pro 3EM does not have";
        Stub { method: Arc<str> } = "fault_stub", "{method} does not exist on a Pro 3EM, but is answered with success";
        AnyInstance { method: Arc<str> } = "fault_any_instance",
            "{method} answers for an id that there is not: a GX counts meters until an id fails, and never comes to an end";
        CloudOn = "fault_cloud_on", "cloud.connected is true: a NOAH then does not use the meter";
        Differs { path: Arc<str>, came: Arc<str>, wanted: Arc<str> } = "fault_differs", "{path} is {came}, expected is {wanted}";
        Unfound = "fault_unfound", "nobody on the network answers to the meter's name: enter its address by hand where the reader lets you";
        OnLoopback = "fault_on_loopback", "not asked: the meter is tried on this machine only, where nothing is announced";
        NotAnnounced { option: &'static str } = "fault_not_announced", "not asked: the option {option} turned it off";
        NoAddress = "fault_no_address", "the name comes without the host's address (A record): many readers then lose the meter";
        OtherAddress { came: Arc<str>, wanted: Arc<str> } = "fault_other_address",
            "the address announced is {came}, but the meter is asked at {wanted}";
        Port { port: u16 } = "fault_port", "the port is {port}: this reader asks at port 80, whatever is announced";
        OnlyPort { port: Arc<str>, wanted: Arc<str>, option: &'static str } = "fault_only_port",
            "this reader asks port {wanted} only, and the meter is on {port}: move it there (option {option})";
        NoUpdate { seconds: u64 } = "fault_no_update",
            "no NotifyStatus within {seconds} s: this reader does not ask again, it waits for them";
        OtherPort { port: u16 } = "fault_other_port", "the answer comes from port {port}: it has to come from the port that was asked";
        Slow { ms: u64 } = "fault_slow", "the answer took {ms} ms: a battery that regulates wants it within 100 ms";
        WordOrder { address: u16 } = "fault_word_order",
            "the two words of {address} stand in the wrong order: the device sends the low word first";
        NoException { address: u16 } = "fault_no_exception",
            "{address} answers, where a Pro 3EM has nothing: a reader that looks for what is there finds a meter that is not";
        Exception { code: u16 } = "fault_exception", "Modbus exception {code} in place of values";
        NotANumber { address: u16 } = "fault_nan",
            "{address} is NaN: a GX adds that up as 0 W beside a meter that looks connected; exception 4 would be right";
        NoBroadcast { address: Arc<str>, seconds: u64 } = "fault_no_broadcast",
            "nobody answers to {address} within {seconds} s: a Marstek looks for the meter that way, and has no field for an address";
        OtherNetwork = "fault_other_network", "not asked: this machine is in another network than the meter, and a broadcast ends at the router";
        Implausible { address: u16, came: Arc<str> } = "fault_implausible", "{address} says {came}, which no mains has";
        TimeUp { seconds: u64 } = "fault_time_up", "the test was ended after {seconds} s";
    }
}
