//! The control socket: how `health` and `backup` reach the running process
//! (`docs/decisions.md#the-control-socket`).
//!
//! A Unix socket of mode 600. One line in (`health`, `backup begin`, `backup end`), one line out
//! (`ok` or `error <why>`).

use std::{
    fs::File,
    future::Future,
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Longest request line, bytes.
const MAX_LINE: u64 = 256;
/// How long the asking side waits: a freeze writes all that is buffered to a slow card.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a socket that cannot be made is tried again: its folder may come late.
const AGAIN: Duration = Duration::from_secs(60);

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Do process, writer thread and listener tasks respond?
    Health,
    /// Flush and close the database for a copy.
    BackupBegin,
    /// Go on with the database.
    BackupEnd,
}

impl Request {
    const ALL: [(Self, &'static str); 3] = [
        (Self::Health, "health"),
        (Self::BackupBegin, "backup begin"),
        (Self::BackupEnd, "backup end"),
    ];

    fn text(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(request, _)| *request == self)
            .map_or("", |(_, text)| text)
    }

    fn parse(line: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, text)| *text == line.trim())
            .map(|(request, _)| *request)
    }
}

/// Where the socket is: `/run` as an app (`/data` is being archived there), else the data folder.
pub fn path(app: bool, data_dir: &Path) -> PathBuf {
    if app && Path::new("/run").is_dir() {
        PathBuf::from("/run/virtual-shelly.sock")
    } else {
        data_dir.join("control.sock")
    }
}

/// Serves the socket until `stop`; removes the file at the end. A socket that cannot be made is one
/// warning, and tried again.
pub async fn serve<F, R>(path: PathBuf, answer: F, stop: CancellationToken)
where
    F: Fn(Request) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), String>> + Send + 'static,
{
    let Some(listener) = bind_at_last(&path, &stop).await else {
        return;
    };
    let ours = file_id(&path);
    let answer = Arc::new(answer);
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let answer = Arc::clone(&answer);
        tokio::spawn(async move {
            let _ = timeout(PATIENCE, converse(stream, &*answer)).await;
        });
    }
    // Another process may have put its own there.
    if file_id(&path) == ours {
        let _ = std::fs::remove_file(&path);
    }
}

fn file_id(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path)
        .ok()
        .map(|meta| (meta.dev(), meta.ino()))
}

async fn bind_at_last(path: &Path, stop: &CancellationToken) -> Option<UnixListener> {
    let mut said = false;
    loop {
        match bind(path).await {
            Ok(listener) => return Some(listener),
            Err(error) if !said => {
                said = true;
                warn!(
                    path = %path.display(), %error,
                    "the control socket cannot be made: `health` and `backup` do not reach this process"
                );
            }
            Err(_) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

/// Longest path that the kernel takes for a socket.
const MAX_PATH: usize = 107;

/// A name of `path` that is short enough, valid as long as the folder is held. A socket in a folder
/// deep down is reached through the open folder, so it stays where its owner looks for it.
fn short(path: &Path) -> io::Result<(PathBuf, Option<File>)> {
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) if path.as_os_str().len() > MAX_PATH => {
            let folder = File::open(folder)?;
            let through = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
            Ok((through, Some(folder)))
        }
        _ => Ok((path.to_owned(), None)),
    }
}

async fn bind(path: &Path) -> io::Result<UnixListener> {
    let (name, _folder) = short(path)?;
    // A file left by a killed process is replaced; that of a living one is not ours.
    match UnixStream::connect(&name).await {
        Ok(living) => {
            let pid = living.peer_cred().ok().and_then(|peer| peer.pid());
            let why = format!("process {} answers there", pid.unwrap_or_default());
            return Err(io::Error::new(io::ErrorKind::AddrInUse, why));
        }
        Err(_) => _ = std::fs::remove_file(path),
    }
    let listener = UnixListener::bind(&name)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn converse<F, R>(mut stream: UnixStream, answer: &F) -> io::Result<()>
where
    F: Fn(Request) -> R,
    R: Future<Output = Result<(), String>>,
{
    let (read, mut write) = stream.split();
    let mut line = String::new();
    BufReader::new(read.take(MAX_LINE))
        .read_line(&mut line)
        .await?;
    let reply = match Request::parse(&line) {
        None => Err(format!("unknown request {:?}", line.trim())),
        Some(request) => answer(request).await,
    };
    let text = match reply {
        Ok(()) => String::from("ok\n"),
        Err(why) => format!("error {}\n", why.replace('\n', " ")),
    };
    write.write_all(text.as_bytes()).await
}

/// Asks a running process.
///
/// # Errors
/// One line: nobody there, or what it answered.
pub async fn ask(path: &Path, request: Request) -> Result<(), String> {
    let attempt = async {
        let (name, _folder) = short(path)?;
        let mut stream = UnixStream::connect(name).await?;
        stream
            .write_all(format!("{}\n", request.text()).as_bytes())
            .await?;
        let mut reply = String::new();
        BufReader::new(stream.take(4096))
            .read_line(&mut reply)
            .await?;
        io::Result::Ok(reply)
    };
    match timeout(PATIENCE, attempt).await {
        Err(_) => Err(format!(
            "no answer at {} within {} s",
            path.display(),
            PATIENCE.as_secs()
        )),
        Ok(Err(error)) => Err(format!("nobody answers at {}: {error}", path.display())),
        Ok(Ok(reply)) if reply.trim() == "ok" => Ok(()),
        Ok(Ok(reply)) => Err(reply.trim().trim_start_matches("error ").to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn asks_and_answers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let stop = CancellationToken::new();
        let answer = |request| async move {
            match request {
                Request::BackupEnd => Err("not frozen".to_owned()),
                _ => Ok(()),
            }
        };
        let task = tokio::spawn(serve(path.clone(), answer, stop.clone()));
        while !path.exists() {
            tokio::task::yield_now().await;
        }
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(ask(&path, Request::Health).await, Ok(()));
        let refused = ask(&path, Request::BackupEnd).await;
        assert_eq!(refused, Err("not frozen".to_owned()));
        let mut raw = UnixStream::connect(&path).await.unwrap();
        raw.write_all(b"format c:\n").await.unwrap();
        let mut text = String::new();
        raw.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("error unknown request"), "{text}");
        stop.cancel();
        task.await.unwrap();
        assert!(!path.exists());
        let gone = ask(&path, Request::Health).await.unwrap_err();
        assert!(gone.contains("nobody answers"), "{gone}");
    }

    #[tokio::test]
    async fn a_folder_deep_down_has_its_socket_and_a_second_process_leaves_it_alone() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(100)).join("e".repeat(60));
        std::fs::create_dir_all(&deep).unwrap();
        let path = deep.join("control.sock");
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(path.clone(), |_| async { Ok(()) }, stop.clone()));
        while ask(&path, Request::Health).await.is_err() {
            tokio::task::yield_now().await;
        }
        let error = bind(&path).await.unwrap_err().to_string();
        let us = format!("process {} answers there", std::process::id());
        assert_eq!(error, us);
        let answer = ask(&path, Request::Health).await;
        assert_eq!(answer, Ok(()), "still the first one's");
        stop.cancel();
        task.await.unwrap();
        assert!(!path.exists());
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_that_comes_late_gets_its_socket_and_keeps_anothers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("late/control.sock");
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(path.clone(), |_| async { Ok(()) }, stop.clone()));
        tokio::time::sleep(Duration::from_secs(30)).await;
        std::fs::create_dir(dir.path().join("late")).unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(path.exists());
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "another process's").unwrap();
        stop.cancel();
        task.await.unwrap();
        assert!(path.exists());
        let nowhere = dir.path().join("nowhere/control.sock");
        serve(nowhere, |_| async { Ok(()) }, stop).await;
    }
}
