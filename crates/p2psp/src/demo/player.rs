//! A player that looks at nothing: reads one peer's stream from the start and keeps its fingerprint.

use super::{compare::Fingerprint, http};
use http_body_util::BodyExt;
use p2psp_net::tasks;
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{sync::watch, task::JoinHandle, time::timeout};

/// How often a stream that has not begun is asked for again: a peer holds each answer back for ten seconds.
const TRIES: u32 = 3;
/// After the stop, what is on its way may still come in.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// A player at work.
#[derive(Debug)]
pub(super) struct Player {
    stop: watch::Sender<bool>,
    task: JoinHandle<Recording>,
}

/// What a player was given.
#[derive(Debug, Default)]
pub(super) struct Recording {
    pub(super) fingerprint: Fingerprint,
    /// From the request to the first byte.
    pub(super) first_byte_after: Option<Duration>,
    pub(super) end: End,
}

/// Why a recording ends.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum End {
    /// It was stopped.
    #[default]
    Stopped,
    /// The peer ended the stream.
    Ended,
    /// It broke off.
    Broken(String),
}

impl Player {
    /// Begins to play the peer at `address`.
    pub(super) fn start(address: SocketAddr) -> Self {
        let (stop, stopped) = watch::channel(false);
        Self { stop, task: tasks::spawn("player", play(address, stopped)) }
    }

    /// Stops, and gives what was played.
    pub(super) async fn stop(mut self) -> Recording {
        self.stop.send_replace(true);
        match timeout(STOP_GRACE, &mut self.task).await {
            Ok(Ok(recording)) => recording,
            Ok(Err(_)) | Err(_) => {
                self.task.abort();
                Recording { end: End::Broken("the player does not stop".to_owned()), ..Recording::default() }
            }
        }
    }
}

async fn play(address: SocketAddr, mut stopped: watch::Receiver<bool>) -> Recording {
    let mut recording = Recording::default();
    let mut stopped = std::pin::pin!(async {
        // A sender that is gone has no use for the recording.
        stopped.wait_for(|stopped| *stopped).await.ok();
    });
    recording.end = tokio::select! {
        () = stopped.as_mut() => End::Stopped,
        end = record(address, &mut recording.fingerprint, &mut recording.first_byte_after) => end,
    };
    recording
}

async fn record(
    address: SocketAddr,
    fingerprint: &mut Fingerprint,
    first_byte_after: &mut Option<Duration>,
) -> End {
    let asked = Instant::now();
    let mut answer = http::get(address, "/live").await;
    for _ in 1..TRIES {
        if answer.is_ok() {
            break;
        }
        answer = http::get(address, "/live").await;
    }
    let mut body = match answer {
        Ok(response) => response.into_body(),
        Err(error) => return End::Broken(error.to_string()),
    };
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => {
                if let Some(bytes) = frame.data_ref() {
                    first_byte_after.get_or_insert_with(|| asked.elapsed());
                    fingerprint.push(bytes);
                }
            }
            Err(error) => return End::Broken(error.to_string()),
        }
    }
    End::Ended
}
