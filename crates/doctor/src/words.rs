//! Causes and remedies.

use std::sync::Arc;

use vocab::EntityId;
use vocab::reason::{Cause as Said, Reason, Span};

vocab::reasons! {
    /// What was found.
    pub enum Cause {
        Open { name: Arc<str>, ports: Arc<str> } = "doc_open", "{name} is open on port {ports}";
        Free { name: Arc<str>, ports: Arc<str> } = "doc_free", "{name}: port {ports} is free";
        Off { name: Arc<str>, option: Arc<str> } = "doc_off", "{name} is switched off by the option {option}";
        OffByCall { name: Arc<str>, method: Arc<str> } = "doc_off_by_call", "{name} was switched off by a reader, with {method}";
        HomeAssistant { name: Arc<str>, port: Arc<str> } = "doc_home_assistant", "{name} port {port} belongs to Home Assistant itself";
        Taken { name: Arc<str>, port: Arc<str>, who: Arc<str> } = "doc_taken", "{name} port {port} is taken by {who}";
        TakenBySomebody { name: Arc<str>, port: Arc<str> } = "doc_taken_somebody", "{name} port {port} is taken by another program";
        Forbidden { name: Arc<str>, port: Arc<str> } = "doc_forbidden", "{name} port {port} may not be opened by this user";
        NoSuchAddress { name: Arc<str>, port: Arc<str>, address: Arc<str> } = "doc_no_such_address",
            "{name} port {port} cannot be opened: this machine does not have the address {address}";
        Waits { name: Arc<str>, error: Said } = "doc_waits", "{name} does not work: {error}";
        Here { list: Arc<str> } = "doc_here", "this machine is {list}";
        Nowhere = "doc_nowhere", "this machine has no address in a network";
        LoopbackOnly { address: Arc<str> } = "doc_loopback_only", "the meter listens on {address} only: nobody but this machine reaches it";
        Bridge { address: Arc<str> } = "doc_bridge",
            "the container has a network of its own ({address}): neither mDNS nor the broadcasts by which batteries look for the meter \
             come in";
        HostNetwork = "doc_host_network", "the container is in the machine's network, or has an address of its own there";
        Mask { reader: Arc<str>, network: Arc<str> } = "doc_mask",
            "{reader} asks, but is not in {network}, though its address begins alike: one of the two has a wrong subnet mask";
        Elsewhere { reader: Arc<str>, networks: Arc<str> } = "doc_elsewhere",
            "{reader} asks from another network than {networks}: it finds the meter by address only, broadcasts and mDNS end at the router";
        NoReader { time: Span } = "doc_no_reader", "nobody has asked since the start {time} ago";
        NoBroadcast { time: Span } = "doc_no_broadcast",
            "no datagram has come since the start {time} ago: a battery that asks by UDP does not get here";
        Undecodable { port: u16, n: u64, reader: Arc<str> } = "doc_undecodable",
            "all {n} datagrams at UDP port {port} were unreadable, the last from {reader}";
        Readers { n: u64 } = "doc_readers", "readers that have asked: {n}";
        NameHeard { host: Arc<str> } = "doc_name_heard", "{host} is announced, and heard on the network";
        NameSilent { host: Arc<str> } = "doc_name_silent", "{host} is announced, but our own question on the network is not answered";
        NameWaits { why: Arc<Reason> } = "doc_name_waits", "the meter is not announced: {why}";
        NameTwice { host: Arc<str>, addresses: Arc<str> } = "doc_name_twice", "{host} is answered for by others, too: {addresses}";
        IdTwice { id: Arc<str>, addresses: Arc<str> } = "doc_id_twice",
            "the id {id} is announced more than once, at {addresses}: readers jump between them";
        ClockRight = "doc_clock_right", "the clock agrees with Home Assistant's";
        ClockLikely = "doc_clock_likely", "the clock is plausible";
        ClockOff { time: Span } = "doc_clock_off", "the clock differs from Home Assistant's by {time}";
        ClockWrong { year: u64 } = "doc_clock_wrong", "the clock says the year {year}";
        Invented = "doc_invented", "values are made up or replayed, nothing is asked";
        LinkUp = "doc_link_up", "Home Assistant answers";
        LinkStarting = "doc_link_starting", "Home Assistant is being reached";
        LinkDown { why: Arc<Reason> } = "doc_link_down", "Home Assistant is not reached: {why}";
        NoEntities = "doc_no_entities", "no power sensor is chosen yet";
        Entity { entity: EntityId, time: Span } = "doc_entity", "{entity} was reported {time} ago";
        EntityQuiet { entity: EntityId, time: Span, usual: Span } = "doc_entity_quiet",
            "{entity} was last reported {time} ago, and usually is every {usual}";
        EntityBad { why: Arc<Reason> } = "doc_entity_bad", "{why}";
        EntityUnheard { entity: EntityId } = "doc_entity_unheard", "nothing has been heard of {entity} yet";
        StoreGood { path: Arc<str>, free: u64 } = "doc_store_good", "{path} is kept and whole, {free} MB are free";
        StoreFrozen = "doc_store_frozen", "a backup is running: what comes is kept after it";
        StoreNew { path: Arc<str> } = "doc_store_new", "nothing is kept in {path} yet, and it can be written";
        StoreMemory { why: Arc<Reason> } = "doc_store_memory", "nothing is kept over a restart: {why}";
        StoreFailing { why: Arc<Reason> } = "doc_store_failing", "the database cannot be written: {why}";
        StoreFull { path: Arc<str>, free: u64 } = "doc_store_full", "only {free} MB are free where {path} is";
        StoreUnwritable { path: Arc<str>, error: Said } = "doc_store_unwritable", "{path} cannot be written: {error}";
        StoreDamaged { path: Arc<str>, error: Said } = "doc_store_damaged", "{path} is damaged: {error}";
    }
}

vocab::reasons! {
    /// One thing to do.
    pub enum Remedy {
        MoveHomeAssistant = "remedy_home_assistant",
            "Move Home Assistant to port 8123, or give this host a second address for the meter (option bind) and keep Home Assistant \
             on the first, or choose another port here for readers that can be told one.";
        Card = "remedy_card", "Free the port, or choose another one in the app's Network card.";
        Option { option: Arc<str> } = "remedy_option", "Free the port, or choose another one with the option {option}.";
        Low { option: Arc<str> } = "remedy_low",
            "Ports below 1024 need a permission (CAP_NET_BIND_SERVICE): grant it, or choose a higher one with the option {option}.";
        AddressOption { option: Arc<str> } = "remedy_address", "Correct the option {option}.";
        Wait = "remedy_wait", "It is tried again by itself.";
        HostNet = "remedy_host_network", "Give the container the machine's network: network_mode host, or docker run --network host.";
        OneMask = "remedy_mask", "Set the same subnet mask on both, 255.255.255.0 in most homes; batteries take theirs from the router.";
        ByAddress = "remedy_by_address", "Put it into the same network, or enter the meter's address in it by hand.";
        Listen = "remedy_listen", "Take the option bind out, or set it to this machine's address.";
        Plug = "remedy_plug", "Connect this machine to the network that the readers are in.";
        SameNetwork = "remedy_same_network",
            "Check that the battery is in the same network, without a guest Wi-Fi or client isolation, and set to Shelly Pro 3EM.";
        Firmware = "remedy_unreadable", "That is no battery's question: see who has this address, and set its port to another one.";
        EnterAddress = "remedy_enter_address",
            "Enter the meter's address by hand in the reader, or stop the program that has UDP port 5353, or open the firewall for it.";
        OtherName = "remedy_other_name",
            "Stop the other meter or emulator, or give this one a name of its own with the option mdns_hostname.";
        OtherMac = "remedy_other_mac", "Stop the other one, or give this one an id of its own with the option mac.";
        SetClock = "remedy_clock", "Let the machine take its time from the network (NTP).";
        Link = "remedy_link", "Check address and token of Home Assistant: virtual-shelly check says what each of its sensors answers.";
        ChooseSensors = "remedy_sensors", "Choose the grid sensors on the set-up page.";
        Sensor = "remedy_sensor", "Look at this sensor in Home Assistant: its device or integration does not deliver.";
        MakeRoom = "remedy_room", "Make room on this disk.";
        Writable = "remedy_writable", "Give the folder to the user that the meter runs as, or name another one with data_dir.";
        Restore = "remedy_damaged",
            "Start the meter: it sets the damaged file aside and goes on with what can be read; or put a backup back.";
    }
}
