//! Commands that change something: one at a time, few waiting, each with one line for the audit, and the same answer for a request
//! that comes again, also when the one before did not wait for its answer.

use super::{Reason, invalid, limits, reason::about, refusal, work::Work};
use crate::{access::Caller, backend::Refusal};
use prost::Message;
use std::{collections::VecDeque, sync::Arc};
use tokio::sync::Mutex;
use tonic::{Response, Status};
use tracing::info;

/// The target of the audit's lines: what operators did, and what was refused. A log shows it whatever it is told to hide.
pub const AUDIT: &str = "p2psp_admin::audit";

/// The place of all mutations.
#[derive(Debug)]
pub(crate) struct Mutations {
    work: Work,
    /// Whose turn it is holds them.
    answers: Arc<Mutex<VecDeque<Answered>>>,
}

#[derive(Debug)]
struct Answered {
    caller: Caller,
    method: &'static str,
    request_id: String,
    subject: String,
    answer: Vec<u8>,
}

impl Mutations {
    pub(crate) fn new() -> Self {
        Self { work: Work::new(limits::MUTATIONS_MAX), answers: Arc::default() }
    }

    /// Carries a command out, unless a request of the same caller, id and method was: then its answer is given again. `subject` is
    /// what it is about, for the audit. A caller that goes away before its turn leaves nothing; once it has begun, it is done, told to
    /// the audit and kept, whoever waits.
    pub(super) async fn run<R: Message + Default + 'static>(
        &self,
        caller: &Caller,
        method: &'static str,
        request_id: &str,
        subject: &str,
        command: impl Future<Output = Result<R, Refusal>> + Send + 'static,
    ) -> Result<Response<R>, Status> {
        // A refusal's line is written where it leaves; it says there what the command was about.
        let refused = |status: Status| Err(about(status, subject, request_id));
        if request_id.len() > limits::REQUEST_ID_BYTES_MAX {
            let problem = format!("has at most {} bytes", limits::REQUEST_ID_BYTES_MAX);
            return refused(invalid("request_id", problem));
        }
        let Some(place) = self.work.try_place() else { return refused(Refusal::Busy.into()) };
        let mut answers = Arc::clone(&self.answers).lock_owned().await;
        let before = |kept: &&Answered| {
            !request_id.is_empty()
                && kept.method == method
                && kept.request_id == request_id
                && kept.caller == *caller
        };
        if let Some(kept) = answers.iter().find(before) {
            if kept.subject != subject {
                return refused(invalid(
                    "request_id",
                    format!("was that of a command about {:?}", kept.subject),
                ));
            }
            info!(target: AUDIT, by = ?caller.name, method, ?subject, ?request_id, "a command came again");
            let answer = R::decode(kept.answer.as_slice());
            return answer.map(Response::new).map_err(|_| {
                refusal(Reason::Internal, "the kept answer cannot be read: this is a bug, please report it")
            });
        }
        let (by, id, what) = (caller.clone(), request_id.to_owned(), subject.to_owned());
        let command = async move {
            let answer = command.await?;
            info!(target: AUDIT, by = ?by.name, method, subject = ?what, request_id = ?id, "a command was carried out");
            if !id.is_empty() {
                let answer = answer.encode_to_vec();
                answers.push_back(Answered { caller: by, method, request_id: id, subject: what, answer });
                if answers.len() > limits::ANSWERS_KEPT {
                    answers.pop_front();
                }
            }
            Ok(answer)
        };
        match self.work.see_through(method, place, command).await {
            Ok(answer) => Ok(Response::new(answer)),
            Err(status) => refused(status),
        }
    }

    /// Waits until no command is under way.
    pub(crate) async fn over(&self) {
        self.work.over().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{access::Scope, v1::ExpelPeerResponse};
    use futures_util::FutureExt;
    use std::pin::pin;
    use tokio::sync::Semaphore;
    use tonic::Code;

    fn caller() -> Caller {
        Caller::new("test", Scope::Admin)
    }

    async fn expel(mutations: &Mutations, id: &str, slot: u32) -> Result<u32, Code> {
        let command = async move { Ok(ExpelPeerResponse { slot }) };
        let answer = mutations.run(&caller(), "ExpelPeer", id, "x", command).await;
        answer.map(|answer| answer.into_inner().slot).map_err(|status| status.code())
    }

    /// The same id gives the same answer and runs nothing; as many as are kept, and one more frees the oldest.
    #[tokio::test]
    async fn a_request_that_comes_again_is_not_carried_out_again() {
        let mutations = Mutations::new();
        assert_eq!(expel(&mutations, "a", 1).await, Ok(1));
        assert_eq!(expel(&mutations, "a", 2).await, Ok(1));
        assert_eq!(expel(&mutations, "", 3).await, Ok(3));
        assert_eq!(expel(&mutations, "", 4).await, Ok(4), "no id, no memory");
        for n in 1..limits::ANSWERS_KEPT {
            expel(&mutations, &n.to_string(), 9).await.unwrap();
        }
        assert_eq!(expel(&mutations, "a", 5).await, Ok(1));
        expel(&mutations, "one more", 9).await.unwrap();
        assert_eq!(expel(&mutations, "a", 6).await, Ok(6));
        let long = "x".repeat(limits::REQUEST_ID_BYTES_MAX + 1);
        assert_eq!(expel(&mutations, &long, 7).await, Err(Code::InvalidArgument));
        assert_eq!(expel(&mutations, &long[1..], 7).await, Ok(7));
    }

    /// An id that comes again for another subject is a mistake, and is told as one; another caller's id is another id.
    #[tokio::test]
    async fn ids_belong_to_a_command_and_a_caller() {
        let mutations = Mutations::new();
        assert_eq!(expel(&mutations, "a", 1).await, Ok(1));
        let command = || async { Ok(ExpelPeerResponse { slot: 2 }) };
        let other_subject = mutations.run(&caller(), "ExpelPeer", "a", "y", command()).await;
        assert_eq!(other_subject.unwrap_err().code(), Code::InvalidArgument);
        let other = Caller::new("other", Scope::Operate);
        let answer = mutations.run(&other, "ExpelPeer", "a", "x", command()).await;
        assert_eq!(answer.unwrap().into_inner().slot, 2);
    }

    /// What failed may be tried again under the same id.
    #[tokio::test]
    async fn failures_are_not_kept() {
        let mutations = Mutations::new();
        let failing = async { Err::<ExpelPeerResponse, _>(Refusal::NotFound("nobody".to_owned())) };
        assert_eq!(
            mutations.run(&caller(), "ExpelPeer", "a", "x", failing).await.unwrap_err().code(),
            Code::NotFound
        );
        assert_eq!(expel(&mutations, "a", 2).await, Ok(2));
    }

    /// A command that waits for the machine until it is told to go on.
    fn stuck(go_on: &Arc<Semaphore>) -> impl Future<Output = Result<ExpelPeerResponse, Refusal>> + use<> {
        let go_on = Arc::clone(go_on);
        async move {
            go_on.acquire().await.unwrap().forget();
            Ok(ExpelPeerResponse { slot: 1 })
        }
    }

    /// A caller that goes away while the machine is at its command leaves it to be done and kept: the same id gets its answer.
    #[tokio::test]
    async fn a_command_outlives_its_caller() {
        let (mutations, go_on) = (Mutations::new(), Arc::new(Semaphore::new(0)));
        let caller = caller();
        let call = mutations.run(&caller, "ExpelPeer", "a", "x", stuck(&go_on)).now_or_never();
        assert!(call.is_none(), "it waits, and is dropped");
        let mut again = pin!(expel(&mutations, "a", 2));
        assert!((&mut again).now_or_never().is_none(), "the first one has not ended");
        go_on.add_permits(1);
        assert_eq!(again.await, Ok(1));
        mutations.over().await;
    }

    /// One more than may wait is refused at once. Who gives up before its turn makes room at once, and is not carried out; whoever is
    /// at work, when its work is done.
    #[tokio::test]
    async fn one_more_than_may_wait_is_refused() {
        let (mutations, go_on) = (Mutations::new(), Arc::new(Semaphore::new(0)));
        let caller = caller();
        let mut waiting: Vec<_> = (0..limits::MUTATIONS_MAX)
            .map(|_| Box::pin(mutations.run(&caller, "ExpelPeer", "", "x", stuck(&go_on))))
            .collect();
        for call in &mut waiting {
            assert!(call.now_or_never().is_none());
        }
        assert_eq!(expel(&mutations, "", 1).await, Err(Code::ResourceExhausted));
        drop(waiting);
        let mut calls: Vec<_> =
            (1..limits::MUTATIONS_MAX).map(|_| Box::pin(expel(&mutations, "", 2))).collect();
        for call in &mut calls {
            assert!(call.now_or_never().is_none());
        }
        assert_eq!(expel(&mutations, "", 1).await, Err(Code::ResourceExhausted), "the first is at work");
        go_on.add_permits(1);
        for call in calls {
            assert_eq!(call.await, Ok(2));
        }
    }
}
