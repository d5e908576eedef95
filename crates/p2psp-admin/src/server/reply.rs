//! An answer on its way out: refusals get their details and their line, whoever wrote them; bodies leave in small pieces, so that it
//! shows when nobody reads them. Owns the tasks that carry answers over HTTP/2, which end when their answer is left unread.

use super::{
    calls::Call,
    refusals::{Refusals, Whose},
};
use crate::service::{complete, limits::UNREAD_MAX};
use bytes::Bytes;
use http::{HeaderMap, Response};
use hyper::{
    body::{Body as HttpBody, Frame, SizeHint},
    rt::Executor,
};
use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use tonic::{Code, Status, body::Body};

/// Bytes of a piece. What is handed over is kept until the caller takes it, even after its call.
const PIECE_BYTES: usize = 16 * 1024;

tokio::task_local! {
    /// The answer of the task that carries it.
    static CARRIED: Arc<Carried>;
}

/// How far an answer has come.
#[derive(Debug, Default)]
pub(super) struct Carried {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// When the piece was handed over for which there is no room yet.
    waits_since: Option<Instant>,
    whose: Option<(Whose, Arc<Refusals>)>,
}

impl Carried {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }

    /// Waits until a piece has found no room for too long.
    async fn unread(&self) {
        loop {
            let since = self.state.lock().unwrap_or_else(PoisonError::into_inner).waits_since;
            match since {
                None => self.changed.notified().await,
                Some(since) if since.elapsed() >= UNREAD_MAX => return,
                Some(since) => {
                    tokio::select! {
                        () = sleep_until(since + UNREAD_MAX) => {}
                        () = self.changed.notified() => {}
                    }
                }
            }
        }
    }

    fn tell(&self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((whose, refusals)) = &state.whose {
            refusals.tell_unread(
                whose,
                &format!("the answer was left unread for {UNREAD_MAX:?}: the call was cut"),
            );
        }
    }
}

/// Runs the tasks that carry answers over HTTP/2, one each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carriers;

impl<F: Future + Send + 'static> Executor<F> for Carriers {
    fn execute(&self, carrier: F) {
        let carried = Arc::new(Carried::default());
        let task = CARRIED.scope(Arc::clone(&carried), async move {
            tokio::select! {
                _ = carrier => {}
                // The stream is reset with its task: whoever comes back to it is told that the call is over.
                () = carried.unread() => carried.tell(),
            }
        });
        drop(tokio::spawn(task));
    }
}

/// Completes an answer, and tells of it if it is a refusal. The call is under way until the answer has left.
pub(super) fn finish(
    response: Response<Body>,
    whose: Whose,
    refusals: &Arc<Refusals>,
    call: Option<Call>,
) -> Response<Body> {
    if let Some(status) = refused(response.headers()) {
        refusals.tell(&whose, &status);
        return status.into_http();
    }
    let carried = CARRIED.try_with(Arc::clone).unwrap_or_default();
    let keep = (whose.clone(), Arc::clone(refusals));
    carried.change(|state| state.whose = Some(keep));
    let refusals = Arc::clone(refusals);
    response.map(|body| Body::new(Reply { body, rest: Bytes::new(), carried, whose, refusals, _call: call }))
}

/// The refusal in headers or trailers, with its details.
fn refused(headers: &HeaderMap) -> Option<Status> {
    let status = Status::from_header_map(headers).filter(|status| status.code() != Code::Ok)?;
    Some(complete(status))
}

/// A body that leaves piece by piece.
struct Reply {
    body: Body,
    /// Of what the body gave, what has not left.
    rest: Bytes,
    carried: Arc<Carried>,
    whose: Whose,
    refusals: Arc<Refusals>,
    _call: Option<Call>,
}

impl Reply {
    fn piece(&mut self) -> Frame<Bytes> {
        let piece = self.rest.split_to(self.rest.len().min(PIECE_BYTES));
        self.carried.change(|state| state.waits_since = Some(Instant::now()));
        Frame::data(piece)
    }
}

impl HttpBody for Reply {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        // The next piece is asked for once the one before has found room.
        self.carried.change(|state| state.waits_since = None);
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.piece())));
        }
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)).transpose()? else {
            return Poll::Ready(None);
        };
        let frame = match frame.into_data() {
            Ok(data) => {
                self.rest = data;
                return Poll::Ready(Some(Ok(self.piece())));
            }
            Err(frame) => frame,
        };
        let Ok(trailers) = frame.into_trailers() else { return Poll::Ready(None) };
        let Some(status) = refused(&trailers) else {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        };
        self.refusals.tell(&self.whose, &status);
        let mut trailers = HeaderMap::new();
        let written = status.add_header(&mut trailers).map(|()| Frame::trailers(trailers));
        Poll::Ready(Some(written))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
