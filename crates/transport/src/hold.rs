//! How a TCP port is bound with regard to others: Home Assistant's own ports are never taken, and
//! are given back ([`super::reserve`]); those that a web server had are not taken before they were
//! free for long ([`super::holder`]).

use std::{future::Future, io};

use futures_util::future::join_all;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    board::{Board, ListenerState},
    holder::{self, Waiting},
    listener::{self, AGAIN, ListenerSpec, retry_pause},
    reserve::{self, Claim},
};
use vocab::reason::{Cause, Closed};

/// Binds a TCP port and serves it on each of its addresses, as [`listener::acquire`] does, until
/// cancelled; leaves it, and comes back to it, when it is found to be Home Assistant's.
pub async fn hold<Fut: Future<Output = ()>>(
    wanted: &ListenerSpec,
    board: &Board,
    cancel: &CancellationToken,
    mut serve: impl FnMut(TcpListener, CancellationToken) -> Fut,
) {
    while let Some(listeners) = acquire_free(wanted, board, cancel).await {
        let session = cancel.child_token();
        let each = listeners.into_iter();
        let mut serving = join_all(each.map(|listener| serve(listener, session.clone())));
        tokio::select! {
            _ = &mut serving => return,
            () = board.guard().taken(wanted) => {}
        }
        tracing::error!(
            listener = wanted.name,
            "port {} is given up: {}",
            wanted.port,
            Closed::HomeAssistant
        );
        board.set(wanted.line(ListenerState::waiting(Closed::HomeAssistant)));
        session.cancel();
        serving.await;
    }
}

/// The sockets, once they can be had; `None` when cancelled first.
async fn acquire_free(
    wanted: &ListenerSpec,
    board: &Board,
    cancel: &CancellationToken,
) -> Option<Vec<TcpListener>> {
    let waits = |reason: Closed| board.set(wanted.line(ListenerState::waiting(reason)));
    let (mut failures, mut told, mut waiting) = (0, false, None::<Waiting>);
    loop {
        let claim = board.guard().claim(wanted);
        if claim != Claim::None {
            // Who has it is known, and when it may be taken too.
            waiting = None;
        }
        let pause = if claim == Claim::Taken {
            if !std::mem::replace(&mut told, true) {
                tracing::error!(
                    listener = wanted.name,
                    "port {} is not opened: {}; {}",
                    wanted.port,
                    Closed::HomeAssistant,
                    wanted.needed_by
                );
            }
            waits(Closed::HomeAssistant);
            tokio::select! {
                () = cancel.cancelled() => return None,
                () = board.guard().given_back(wanted) => continue,
            }
        } else if waiting.as_mut().is_some_and(|waiting| {
            !waiting.over(tokio::time::Instant::now(), holder::is_free(wanted))
        }) {
            holder::LOOK_EVERY
        } else {
            match listener::bind_all(wanted, listener::tcp) {
                Ok(bound) if claim == Claim::Beside && !beside(wanted).await => {
                    drop(bound);
                    waits(Closed::HomeAssistant);
                    holder::LOOK_EVERY
                }
                Ok(bound) => {
                    // It may have become known meanwhile.
                    if board.guard().claim(wanted) == Claim::Taken {
                        continue;
                    }
                    listener::served(wanted, board, failures > 0 || told);
                    return Some(bound);
                }
                Err(error) => {
                    if error.kind() == io::ErrorKind::AddrInUse {
                        waiting = Waiting::of(holder::ask(wanted).await, wanted.port);
                    }
                    let reason = match (&waiting, claim) {
                        (_, Claim::Beside) => Closed::HomeAssistant,
                        (Some(waiting), _) => waiting.holder.reason(waiting.quiet),
                        (None, _) => Closed::System {
                            error: Cause::of(&error),
                        },
                    };
                    if failures == 0 {
                        let again = waiting.as_ref().map_or_else(
                            || AGAIN.to_owned(),
                            |_| format!("{reason}, or at the next start"),
                        );
                        tracing::error!(
                            listener = wanted.name,
                            "{}",
                            wanted.complaint(&error, &again)
                        );
                    }
                    waits(reason);
                    failures += 1;
                    retry_pause(failures - 1)
                }
            }
        };
        tokio::select! {
            () = cancel.cancelled() => return None,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Whether somebody else has this port on another address of this host.
async fn beside(wanted: &ListenerSpec) -> bool {
    match wanted.bind {
        Some(bind) => reserve::somebody_beside(bind, wanted.port).await,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{net::SocketAddr, time::Duration};

    use super::*;
    use crate::listener::{tcp, tests::wanted};

    /// A listener on its own port of 127.0.0.1, which stays busy or free for as long as somebody
    /// else has it.
    async fn held(bind: &str, port: u16, board: &Board, cancel: &CancellationToken) {
        let wanted = ListenerSpec {
            bind: Some(bind.parse().unwrap()),
            ..wanted(port)
        };
        hold(&wanted, board, cancel, |bound, session| async move {
            session.cancelled().await;
            drop(bound);
        })
        .await;
    }

    fn state(board: &Board) -> Option<ListenerState> {
        board.lines().first().map(|line| line.state.clone())
    }

    async fn until_state(board: &Board, so: impl Fn(&ListenerState) -> bool) {
        let mut lines = board.subscribe();
        let seen = lines.wait_for(|lines| lines.first().is_some_and(|line| so(&line.state)));
        tokio::time::timeout(Duration::from_secs(20), seen)
            .await
            .unwrap()
            .unwrap();
    }

    fn is_kept(state: &ListenerState) -> bool {
        *state == ListenerState::waiting(Closed::HomeAssistant)
    }

    #[tokio::test]
    async fn a_port_found_to_be_home_assistants_is_given_back_and_never_taken_before() {
        let port = tcp("127.0.0.1:0".parse().unwrap())
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let address: SocketAddr = ([127, 0, 0, 1], port).into();
        let (board, cancel) = (Board::default(), CancellationToken::new());
        let reserved = |hosts| vec![reserve::Reservation { port, hosts }];
        let work = async {
            until_state(&board, |state| *state == ListenerState::Listening).await;
            board.guard().set(reserved(reserve::Hosts::Seen(None)));
            tokio::task::yield_now().await;
            assert_eq!(
                state(&board),
                Some(ListenerState::Listening),
                "on an address of its own it may be beside"
            );
            board
                .guard()
                .set(reserved(reserve::Hosts::Only(vec![address.ip()])));
            until_state(&board, is_kept).await;
            // Home Assistant gets it at once.
            let home_assistant = loop {
                match tcp(address) {
                    Ok(bound) => break bound,
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            };
            drop(home_assistant);
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(
                state(&board).as_ref().is_some_and(is_kept),
                "and it is not taken while Home Assistant is down"
            );
            board.guard().set(Vec::new());
            until_state(&board, |state| *state == ListenerState::Listening).await;
            cancel.cancel();
        };
        tokio::join!(held("127.0.0.1", port, &board, &cancel), work);
    }

    #[tokio::test]
    async fn beside_home_assistant_only_while_it_is_seen_there() {
        let there = tcp("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = there.local_addr().unwrap().port();
        let seen = vec![reserve::Reservation {
            port,
            hosts: reserve::Hosts::Seen(Some([127, 0, 0, 1].into())),
        }];
        let (board, cancel) = (Board::default(), CancellationToken::new());
        board.guard().set(seen.clone());
        let work = async {
            until_state(&board, |state| *state == ListenerState::Listening).await;
            cancel.cancel();
        };
        tokio::join!(held("127.0.0.2", port, &board, &cancel), work);
        drop(there);
        let (board, cancel) = (Board::default(), CancellationToken::new());
        board.guard().set(seen);
        let work = async {
            until_state(&board, is_kept).await;
            cancel.cancel();
        };
        tokio::join!(held("127.0.0.2", port, &board, &cancel), work);
    }
}
