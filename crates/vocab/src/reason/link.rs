//! Why a source, Home Assistant mostly, gives nothing.

use std::sync::Arc;

use super::{Cause, Quoted, reasons};

reasons! {
    /// Why the way to the source is not there. `{address}` is shown without a password.
    pub enum Unreachable {
        NotStarted = "why_not_started", "the source has not started yet";
        Connecting = "why_connecting", "the source is being connected";
        Starting = "why_starting", "Home Assistant is starting";
        Ended = "why_source_ended", "the source has ended";
        ReplayEnded = "why_replay_ended", "replay ended";
        NoReplayFile = "why_replay_none",
            "source replay needs replay_file: a CSV with the header ts,a,b,c or ts,w";
        ReplayUnread { path: Arc<str>, error: Cause } = "why_replay_unread", "replay_file {path} cannot be read: {error}";
        ReplayHeader { path: Arc<str>, header: Quoted } = "why_replay_header",
            "replay_file {path} line 1: header {header} is neither ts,a,b,c nor ts,w";
        ReplayCells { path: Arc<str>, line: u64, value: Quoted } = "why_replay_cells",
            "replay_file {path} line {line}: {value} has another number of cells than the header";
        ReplayTime { path: Arc<str>, line: u64, value: Quoted } = "why_replay_time",
            "replay_file {path} line {line}: {value} is no Unix time in seconds";
        ReplayOrder { path: Arc<str>, line: u64, value: Quoted } = "why_replay_order",
            "replay_file {path} line {line}: {value} is before the row above";
        ReplayNumber { path: Arc<str>, line: u64, value: Quoted } = "why_replay_number",
            "replay_file {path} line {line}: {value} is no number of watts; leave the cell empty for unavailable";
        ReplayEmpty { path: Arc<str> } = "why_replay_empty", "replay_file {path} has no rows";
        MadeUp = "why_made_up",
            "the values are made up or replayed: there is no Home Assistant to ask";
        NoToken = "why_no_token",
            "no token for Home Assistant: set ha_token (HA_TOKEN) to a long-lived access token of it; not trying without";
        BadUrl { url: Quoted, error: Cause } = "why_bad_url",
            "ha_base_url {url} cannot be used: {error}; it should look like http://homeassistant:8123";
        NoAddress = "why_no_address", "no address";
        NoClient { error: Cause } = "why_no_client", "{error}";
        CannotReach { address: Arc<str>, error: Cause } = "why_unreachable", "{address} cannot be reached: {error}";
        NotRunning = "why_not_running", "Home Assistant is not running yet, says the Supervisor (502)";
        NoAnswer { address: Arc<str>, n: u64 } = "why_no_answer", "{address} did not answer for {n} s";
        WantsHttps { address: Arc<str>, url: Arc<str> } = "why_wants_https",
            "{address} wants https: set ha_base_url to {url}";
        Elsewhere { address: Arc<str>, url: Arc<str> } = "why_elsewhere_ha",
            "nothing listens at {address}, but Home Assistant is at {url}: set ha_base_url to that";
        Nobody { address: Arc<str> } = "why_nobody",
            "nothing listens at {address}: start Home Assistant, or correct the port in ha_base_url (8123, or none on new installs)";
        NoName { address: Arc<str>, host: Arc<str> } = "why_no_name",
            "{address}: the name {host} is not known here: set ha_base_url to the address of Home Assistant";
        PlainHttp { address: Arc<str>, url: Arc<str> } = "why_plain_http",
            "{address} is plain http, not https: set ha_base_url to {url}";
        Untrusted { address: Arc<str> } = "why_untrusted",
            "{address} has a certificate that is not trusted here: add it, or its authority, to this host's trusted certificates";
        OtherName { address: Arc<str> } = "why_other_name",
            "{address} has a certificate for another name: use that name in ha_base_url";
        OutOfDate { address: Arc<str> } = "why_out_of_date",
            "{address} has a certificate that is out of date: renew it, and check this host's clock";
        Garbled { address: Arc<str>, error: Cause } = "why_garbled",
            "{address} gives no answer of Home Assistant ({error}): correct host and port in ha_base_url";
        Redirect { address: Arc<str>, status: u16, url: Arc<str> } = "why_redirect",
            "{address} sends us on ({status}) to {url}: set ha_base_url to that";
        UntrustedProxy { address: Arc<str> } = "why_untrusted_proxy",
            "{address} answered 400: Home Assistant does not trust the proxy in between (its trusted_proxies), or it is no Home Assistant; set ha_base_url to Home Assistant itself";
        Banned { address: Arc<str>, status: u16 } = "why_banned",
            "{address} answered {status}: this host is banned there (take it out of Home Assistant's ip_bans.yaml and restart that), or a proxy in between refuses us";
        Behind { address: Arc<str>, status: u16 } = "why_behind",
            "{address} answered {status}: something is there, but Home Assistant behind it does not run";
        NoWebsocket { address: Arc<str>, status: u16 } = "why_no_websocket",
            "{address} answered {status}: no Home Assistant there; correct host, port and path in ha_base_url";
        SupervisorRefuses { address: Arc<str>, status: u16 } = "why_supervisor_no",
            "{address} answered {status}: the Supervisor refuses us; restart the app";
        Token { address: Arc<str>, reason: Cause } = "why_token",
            "{address}: the token was refused ({reason}): make a long-lived access token in your profile there and set ha_token (HA_TOKEN)";
        TokenOdd { address: Arc<str>, reason: Cause } = "why_token_odd",
            "{address}: the token was refused ({reason}), and it does not look like one: make a long-lived access token in your profile there and set ha_token (HA_TOKEN)";
        TokenApp { address: Arc<str>, reason: Cause } = "why_token_app",
            "{address}: the token was refused ({reason}): restart the app";
        Closed { address: Arc<str> } = "why_closed", "{address} closed the connection";
        Broke { address: Arc<str>, error: Cause } = "why_broke", "{address} connection broke: {error}";
        TakesNothing { address: Arc<str> } = "why_takes_nothing", "{address} takes nothing any more";
        TooLarge { address: Arc<str>, n: u64, most: u64 } = "why_too_large",
            "{address} sent a message of {n} MB, and at most {most} MB are taken: an entity with attributes of that size is of no use here, take it out of Home Assistant or of what the meter reads";
        AnswerTooLarge { what: Arc<str>, n: u64, most: u64 } = "why_answer_too_large",
            "asked {what}, Home Assistant sent a message of {n} MB, and at most {most} MB are taken: an entity with attributes of that size is of no use here, take it out of Home Assistant or of what the meter reads";
        NoAuthentication { n: u64 } = "why_no_auth", "no answer to the authentication for {n} s";
        NoPong { n: u64 } = "why_pong", "no sign of life for {n} s after a ping";
        NotAnswered { what: Arc<str>, n: u64 } = "why_not_answered", "{what} was not answered for {n} s";
        AskFailed { what: Arc<str>, error: Cause } = "why_ask_failed", "{what} failed: {error}";
        RestAnswered { path: Arc<str>, status: Arc<str> } = "why_rest_answered", "REST {path} answered {status}";
        RestFailed { path: Arc<str>, error: Cause } = "why_rest_failed", "REST {path} failed: {error}";
        RestTooLarge { path: Arc<str>, n: u64 } = "why_rest_too_large",
            "REST {path}: the answer is larger than the {n} kB that are taken";
        RestBadPath { path: Arc<str>, error: Cause } = "why_rest_path", "{path}: {error}";
        NoRest = "why_no_rest", "REST config answered 404: no Home Assistant there";
        HaBroke { error: Cause } = "why_ha_broke", "the connection to Home Assistant broke: {error}";
        HaBrokeAsking { what: Arc<str>, error: Cause } = "why_ha_broke",
            "the connection broke: {error} while {what} was asked";
        HaClosed = "why_ha_closed", "the connection to Home Assistant was closed";
        HaSilent { what: Arc<str>, n: u64 } = "why_ha_silent", "Home Assistant did not answer {what} for {n} s";
        HaFailed { what: Arc<str>, error: Cause } = "why_ha_failed",
            "Home Assistant could not answer {what}: {error}";
    }
}
