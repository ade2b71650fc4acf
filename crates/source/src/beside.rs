//! Home Assistant is heard on threads of their own: however large a message is, nobody who reads
//! the meter waits for it to be taken in. One follows the readings; one asks and puts answers
//! together, and gives way to the others.

use std::{future::Future, panic::resume_unwind, sync::LazyLock};

use tokio::{
    runtime::{Builder, Runtime},
    task::AbortHandle,
};

use background::be_nice;

static FOLLOWING: LazyLock<Option<Runtime>> = LazyLock::new(|| thread("readings", || {}));
static ASKING: LazyLock<Option<Runtime>> = LazyLock::new(|| thread("questions", be_nice));

fn thread(name: &str, begin: impl Fn() + Send + Sync + 'static) -> Option<Runtime> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name(name)
        .on_thread_start(begin)
        .enable_all()
        .build();
    runtime
        .inspect_err(|error| {
            tracing::warn!(thread = name, %error, "Home Assistant has no thread of its own");
        })
        .ok()
}

/// Whoever does not wait any more does not want it any more.
struct Wanted(AbortHandle);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Follows readings beside those who are served.
pub(super) async fn follow<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    on(FOLLOWING.as_ref(), work).await
}

/// Asks, and makes of the answers what is to be made of them, beside those who are served.
pub(super) async fn ask<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    on(ASKING.as_ref(), work).await
}

async fn on<T: Send + 'static>(
    runtime: Option<&Runtime>,
    work: impl Future<Output = T> + Send + 'static,
) -> T {
    let Some(runtime) = runtime else {
        return work.await;
    };
    let task = runtime.spawn(work);
    let _wanted = Wanted(task.abort_handle());
    match task.await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // Only a dropped wait ends it, and then nobody is here.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::{sync::mpsc, thread, time::Duration};

    use super::*;

    #[tokio::test]
    async fn what_takes_long_holds_nobody_up_and_ends_with_its_wait() {
        // This test's runtime has one thread: were the work done on it, nobody could let it go.
        let (go, gate) = mpsc::channel::<()>();
        let work = tokio::spawn(ask(async move {
            (
                gate.recv().is_ok(),
                thread::current().name().map(str::to_owned),
            )
        }));
        tokio::task::yield_now().await;
        go.send(()).unwrap();
        assert_eq!(work.await.unwrap(), (true, Some("questions".to_owned())));
        assert_eq!(
            follow(async { thread::current().name().map(str::to_owned) }).await,
            Some("readings".to_owned())
        );

        let (told, mut ended) = tokio::sync::mpsc::channel::<()>(1);
        let waits = async move {
            let _told = told;
            std::future::pending::<()>().await;
        };
        assert!(
            tokio::time::timeout(Duration::from_millis(1), ask(waits))
                .await
                .is_err()
        );
        assert_eq!(
            ended.recv().await,
            None,
            "dropped with whoever waited for it"
        );
    }

    #[tokio::test]
    async fn a_panic_is_that_of_who_waits() {
        let caught = tokio::spawn(ask(async { panic!("on purpose") })).await;
        assert!(caught.unwrap_err().is_panic());
    }
}
