//! Work that blocks, for whoever asks: reading the database for files, charts and pages.
//!
//! A few threads of their own at a lower priority do it one piece after the other, so that a flood
//! of downloads takes no thread, no core and no memory from those who read the power. Who comes
//! when many wait already is told to come again, and who comes while the disk hangs is told that at
//! once.

use std::{
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};
use tracing::debug;

/// Threads: one that waits for the disk leaves one to the others.
const THREADS: usize = 2;
/// Pieces of work that wait or run at once.
const PLACES: usize = 48;
/// How long who asks waits, for a turn and for the disk. What is not there by then is left out of a
/// page.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// The same for the next piece of a file that is on its way: what a loaded machine is late with
/// must not cut it off.
const NEXT_PIECE: Duration = Duration::from_secs(10);
/// Seconds after which who was refused may come again.
pub const RETRY_AFTER: &str = "2";

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Too much waits already.
    #[error("too many ask for records at once: try again in {RETRY_AFTER} s")]
    Busy,
    /// It took too long; the disk may hang.
    #[error("the disk of the data folder did not answer in {} s: it may be overloaded or failing", PATIENCE.as_secs())]
    Slow,
}

type Job = Box<dyn FnOnce() + Send>;

struct Pool {
    places: Arc<Semaphore>,
    jobs: Mutex<Sender<Job>>,
    /// Since when each thread has been at its piece of work.
    busy: Arc<[Mutex<Option<Instant>>]>,
}

static POOL: LazyLock<Pool> = LazyLock::new(|| Pool::new(THREADS, PLACES));

fn serve(queue: &Mutex<Receiver<Job>>, busy: &Mutex<Option<Instant>>) {
    let note = |since| *busy.lock().unwrap_or_else(PoisonError::into_inner) = since;
    be_nice();
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            Ok(job) => {
                note(Some(Instant::now()));
                // What panics is reported where its answer is waited for.
                drop(std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)));
                note(None);
            }
            Err(_) => return,
        }
    }
}

/// Seconds since when no thread has got on with its work, so that the disk is to blame; none while
/// one has.
#[must_use]
pub fn hangs() -> Option<u64> {
    POOL.hangs().map(|since| since.as_secs())
}

/// What this thread does can wait for readings and replies; it still gets its turn, so that a lock
/// it holds is let go. On Linux a thread's nice value is its own.
pub fn be_nice() {
    if let Err(error) = rustix::process::nice(10) {
        debug!(%error, "a thread of the background runs at normal priority");
    }
}

/// Does a piece of work, if not too much waits already.
///
/// # Errors
/// [`Refused`].
pub async fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refused> {
    POOL.run(work).await
}

/// The same for the next piece of something that has begun: it waits for its place.
///
/// # Errors
/// [`Refused::Slow`].
pub async fn go_on<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refused> {
    POOL.go_on(work).await
}

impl Pool {
    fn new(threads: usize, places: usize) -> Self {
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        let busy: Arc<[Mutex<Option<Instant>>]> = (0..threads).map(|_| Mutex::default()).collect();
        for n in 0..threads {
            let (queue, busy) = (Arc::clone(&queue), Arc::clone(&busy));
            let started = thread::Builder::new()
                .name("records".into())
                .spawn(move || serve(&queue, &busy[n]));
            if let Err(error) = started {
                tracing::warn!(%error, "a thread for reading records cannot be started");
            }
        }
        Self {
            places: Arc::new(Semaphore::new(places)),
            jobs: Mutex::new(jobs),
            busy,
        }
    }

    /// How long the thread that got on last has been at one piece, where that is too long for all
    /// of them.
    fn hangs(&self) -> Option<Duration> {
        let since =
            |busy: &Mutex<Option<Instant>>| *busy.lock().unwrap_or_else(PoisonError::into_inner);
        let last = self
            .busy
            .iter()
            .map(since)
            .collect::<Option<Vec<_>>>()?
            .into_iter()
            .max()?;
        Some(last.elapsed()).filter(|elapsed| *elapsed >= PATIENCE)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refused> {
        let permit = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| Refused::Busy)?;
        // What waits behind work that hangs would only be late.
        if self.hangs().is_some() {
            return Err(Refused::Slow);
        }
        self.with(permit, PATIENCE, work).await
    }

    async fn go_on<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refused> {
        let place = timeout(NEXT_PIECE, Arc::clone(&self.places).acquire_owned())
            .await
            .map_err(|_| Refused::Slow)?;
        self.with(place.map_err(|_| Refused::Busy)?, NEXT_PIECE, work)
            .await
    }

    async fn with<T: Send + 'static>(
        &self,
        permit: OwnedSemaphorePermit,
        patience: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refused> {
        let (answer, wait) = oneshot::channel();
        let job: Job = Box::new(move || {
            let _held = permit;
            // Nobody waits any more for what has become too old in the queue.
            if !answer.is_closed() {
                let _ = answer.send(work());
            }
        });
        if self
            .jobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .send(job)
            .is_err()
        {
            return Err(Refused::Busy);
        }
        match timeout(patience, wait).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(_)) | Err(_) => Err(Refused::Slow),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn who_comes_when_many_wait_is_refused_at_once_and_who_has_begun_waits() {
        let pool = Arc::new(Pool::new(2, 4));
        let (go, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let work = |n: usize| {
            let gate = Arc::clone(&gate);
            move || {
                let _ = gate.lock().unwrap().recv();
                n
            }
        };
        let mut begun = Vec::new();
        for n in 0..4 {
            let (own, work) = (Arc::clone(&pool), work(n));
            begun.push(tokio::spawn(async move { own.run(work).await }));
            while pool.places.available_permits() != 3 - n {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(pool.run(|| 9).await, Err(Refused::Busy));
        let patient = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.go_on(|| 10).await }
        });
        for _ in 0..4 {
            go.send(()).unwrap();
        }
        for (n, begun) in begun.into_iter().enumerate() {
            assert_eq!(begun.await.unwrap(), Ok(n));
        }
        assert_eq!(patient.await.unwrap(), Ok(10));
        assert_eq!(pool.run(|| 11).await, Ok(11));
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_not_done() {
        let pool = Pool::new(1, 4);
        let (go, gate) = mpsc::channel::<()>();
        let first = pool.run(move || gate.recv().is_ok());
        let (did, done) = mpsc::channel::<()>();
        {
            let second = pool.run(move || did.send(()));
            let mut first = std::pin::pin!(first);
            let mut second = Box::pin(second);
            let polled = std::future::poll_fn(|cx| {
                std::task::Poll::Ready((
                    first.as_mut().poll(cx).is_ready(),
                    second.as_mut().poll(cx).is_ready(),
                ))
            });
            assert_eq!(polled.await, (false, false));
            drop(second);
            go.send(()).unwrap();
            assert_eq!(first.await, Ok(true));
        }
        assert_eq!(pool.run(|| 1).await, Ok(1));
        assert!(done.try_recv().is_err());
    }

    #[tokio::test]
    async fn who_comes_while_everything_hangs_is_told_at_once_and_served_again_after_it() {
        let pool = Arc::new(Pool::new(2, 8));
        let (go, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let began = Instant::now();
        let hung = [0, 1].map(|_| {
            let (pool, gate) = (Arc::clone(&pool), Arc::clone(&gate));
            tokio::spawn(async move { pool.run(move || gate.lock().unwrap().recv().is_ok()).await })
        });
        for hung in hung {
            assert_eq!(hung.await.unwrap(), Err(Refused::Slow));
        }
        assert!(began.elapsed() < PATIENCE * 2, "{:?}", began.elapsed());
        assert!(pool.hangs().is_some());
        let began = Instant::now();
        for _ in 0..50 {
            assert_eq!(pool.run(|| 1).await, Err(Refused::Slow));
        }
        assert!(began.elapsed() < PATIENCE * 5, "{:?}", began.elapsed());
        // One thread that gets on is enough.
        go.send(()).unwrap();
        while pool.hangs().is_some() {
            tokio::task::yield_now().await;
        }
        // Its threads are the last to run on a busy machine.
        let mut served = pool.run(|| 2).await;
        for _ in 0..20 {
            if served == Err(Refused::Slow) {
                while pool.hangs().is_some() {
                    tokio::task::yield_now().await;
                }
                served = pool.run(|| 2).await;
            }
        }
        assert_eq!(served, Ok(2));
        go.send(()).unwrap();
    }

    #[tokio::test]
    async fn its_threads_are_nicer_than_others() {
        let own = rustix::process::nice(0).unwrap();
        assert_eq!(
            run(|| rustix::process::nice(0).unwrap()).await,
            Ok((own + 10).min(19))
        );
    }
}
