//! What each reader asks, in its order.

mod batteries;
mod evcc;
mod master;
mod play;
mod sockets;

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{Consumer, Expect, Fault, Report, Step, Target, step::Verdict};
use play::Play;

/// What a whole test may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Asks `target` as `consumer` does; `tell` hears each step as it ends. Ends within 30 s.
pub async fn run(
    consumer: Consumer,
    target: &Target,
    tell: &mut (dyn FnMut(&Step) + Send),
) -> Report {
    let begin = Instant::now();
    let mut play = Play::new(consumer, target, tell);
    let asking = async {
        match consumer {
            Consumer::Victron => sockets::victron(&mut play).await,
            Consumer::HomeAssistant => sockets::home_assistant(&mut play).await,
            Consumer::Evcc => evcc::ask(&mut play).await,
            Consumer::Marstek => batteries::marstek(&mut play).await,
            Consumer::Hoymiles => batteries::hoymiles(&mut play).await,
            Consumer::Noah => batteries::noah(&mut play).await,
            Consumer::Solakon => batteries::solakon(&mut play).await,
            Consumer::Modbus => master::ask(&mut play).await,
        }
    };
    if timeout(LIMIT, asking).await.is_err() {
        let late = Fault::TimeUp {
            seconds: LIMIT.as_secs(),
        };
        play.ended("…", Expect::Status, "", begin, Verdict::bad(late));
    }
    play.report
}
