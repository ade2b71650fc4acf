//! What a reader expects of a call.

use std::sync::Arc;

vocab::reasons! {
    /// What a reader expects of a call.
    pub enum Expect {
        Announced { kind: &'static str } = "expect_announced",
            "a service {kind} with 12 hexadecimal digits of the MAC at the end of its name, and the host's address with it";
        Port { ports: Arc<str> } = "expect_port", "the meter on port {ports}";
        Connected = "expect_connected", "a connection on /rpc";
        DeviceInfo = "expect_device_info", "who the meter is: id, MAC, model, firmware, no password";
        Config = "expect_config", "the configuration of every component";
        Status = "expect_status", "the state of every component, keys as the device has them";
        Components = "expect_components", "an object with components and total";
        Methods = "expect_methods", "an object whose methods are those of a Pro 3EM in its profile";
        Component { key: &'static str } = "expect_component", "the object that stands under {key} in Shelly.GetStatus or GetConfig";
        NoInstance = "expect_no_instance", "an error, for there is one meter only";
        NoMethod = "expect_no_method", "an error, for there is no such method";
        Power = "expect_power", "powers, voltages and currents as numbers, and a total that is their sum";
        Energy = "expect_energy", "counters in Wh, and totals that are their sums";
        Update = "expect_update", "a NotifyStatus with the whole em:0 by itself";
        Pong = "expect_pong", "an answer to a ping";
        Datagram = "expect_datagram", "one datagram from the port asked, with the same id and powers with a decimal point";
        Linked = "expect_linked", "a connection";
        Mac = "expect_mac", "the MAC, two characters a register";
        Model = "expect_model", "the model, SPEM-003…";
        Phases = "expect_phases", "voltage, current and power of each phase, the low word first";
        Counters = "expect_counters", "energy counters in Wh, the low word first";
        NoRegisters = "expect_no_registers", "exception 2, for there is nothing at this address";
    }
}
