//! `p2psp ctl`: one question or command to a running process over its admin API. Owns the exit codes and how peers are named; an
//! answer's look is `show`'s, changes are `watch`'s.

mod buffer;
mod show;
mod steer;
mod watch;
mod yaml;

use crate::{
    cli::{Action, CtlArgs, Output, Watched, What},
    exit::{Code, Failure},
    printable,
    units::Span,
};
use p2psp_admin::{
    Reason,
    client::{ConnectError, Connection, certificate_problem},
    v1,
};
use serde_json::json;
pub(crate) use show::span;
use show::{Columns, Screen};
use std::{future::Future, time::Duration};
use tokio::time::timeout;

/// Members of a page: the most that the API gives.
pub(crate) const PAGE: u32 = p2psp_admin::limits::PAGE_SIZE_MAX;
/// Characters of a whole key.
const KEY_CHARACTERS: usize = 52;
/// Fewest characters of a key that stand for it.
const PREFIX_CHARACTERS_MIN: usize = 4;

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        use tonic::Code as Grpc;
        let message = printable::line(status.message());
        let told = match next_step(&status) {
            Some(next) => format!("{message}; {next}"),
            None => message.clone(),
        };
        match status.code() {
            Grpc::InvalidArgument | Grpc::OutOfRange => Self::new(Code::Usage, told),
            Grpc::ResourceExhausted => match Reason::of(&status) {
                Some(Reason::RequestTooLarge | Reason::HeadTooLarge) => Self::new(Code::Usage, told),
                Some(_) | None => Self::new(Code::Busy, told),
            },
            Grpc::Unauthenticated | Grpc::PermissionDenied => Self::new(Code::Denied, told),
            Grpc::NotFound => Self::new(Code::Absent, told),
            Grpc::Unavailable | Grpc::DeadlineExceeded => Self::new(Code::NoSeat, told),
            Grpc::Unimplemented => Self::new(
                Code::Runtime,
                "this process does not do that: `p2psp ctl get info` says whether it is a splitter or a peer",
            ),
            // No answer of ours: what a connection breaks with.
            Grpc::Unknown | Grpc::Cancelled => match certificate_problem(&status) {
                Some(problem) => Self::new(Code::Denied, problem),
                None => Self::new(Code::NoSeat, format!("the connection broke: {message}")),
            },
            Grpc::Ok
            | Grpc::AlreadyExists
            | Grpc::FailedPrecondition
            | Grpc::Aborted
            | Grpc::Internal
            | Grpc::DataLoss => Self::new(Code::Runtime, told),
        }
    }
}

/// What to do about a refusal, where its message does not say it in this command's words.
fn next_step(status: &tonic::Status) -> Option<&'static str> {
    Some(match Reason::of(status)? {
        Reason::NoToken => "set P2PSP_CTL_TOKEN to one of the process's --admin-tokens",
        Reason::WrongToken => "compare P2PSP_CTL_TOKEN with the process's --admin-tokens",
        Reason::Scope => "set P2PSP_CTL_TOKEN to a token with that scope",
        Reason::NotFound => "`p2psp ctl get peers`, `neighbours` or `bans` lists those that are there",
        Reason::Busy => "try again in a moment",
        Reason::Malformed => "is this program of the process's version? `p2psp --version`",
        Reason::Browser
        | Reason::InvalidField
        | Reason::StalePageToken
        | Reason::TooManyCalls
        | Reason::Ending
        | Reason::Resync
        | Reason::RequestTooLarge
        | Reason::HeadTooLarge
        | Reason::Compressed
        | Reason::UnknownMethod
        | Reason::Internal => return None,
    })
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        if let ConnectError::Tls { source, .. } = &error
            && let Some(problem) = certificate_problem(source)
        {
            return Self::new(Code::Denied, problem);
        }
        let is_ours = matches!(error, ConnectError::Credentials(_) | ConnectError::Token);
        let code = if is_ours { Code::Usage } else { Code::NoSeat };
        Self::new(code, error)
    }
}

/// Asks, and shows the answer.
///
/// # Errors
///
/// Nobody answers, or what is asked is refused.
pub(crate) async fn run(args: CtlArgs) -> Result<(), Failure> {
    let within = args.connection.timeout.0;
    let connection = Connection::open(&args.connection.admin, &args.connection.credentials(), within).await?;
    let ctl = Ctl { connection, within, screen: Screen(args.output) };
    match args.action {
        Action::Get { what: What::Peers, watch: true } | Action::Watch { what: Watched::Peers } => {
            watch::peers(&ctl).await
        }
        Action::Get { what: What::Neighbours, watch: true } | Action::Watch { what: Watched::Neighbours } => {
            watch::neighbours(&ctl).await
        }
        Action::Get { watch: true, .. } => {
            Err(Failure::new(Code::Usage, "only peers and neighbours can be watched"))
        }
        Action::Get { what, watch: false } => ctl.get(what).await,
        Action::Describe { peer } => ctl.describe(&peer).await,
        Action::Expel { peer, ban } => ctl.expel(&peer, ban).await,
        Action::Ban { peer, span } => ctl.ban(&peer, span).await,
        Action::Unban { peer } => ctl.unban(&peer).await,
        Action::WeightLimit { peer, limit } => ctl.weight_limit(&peer, limit).await,
        Action::Limits(limits) => ctl.limits(&limits).await,
        Action::Drain => {
            let request = v1::DrainRequest { request_id: String::new() };
            ctl.ask(ctl.connection.runtime().drain(request)).await?;
            ctl.screen.done("the process is leaving", &json!({ "draining": true }));
            Ok(())
        }
        Action::LogLevel { filter } => ctl.log_level(filter).await,
    }
}

/// An answer, or the failure that it took too long.
///
/// # Errors
///
/// No answer comes in time, or it is a refusal.
pub(crate) async fn in_time<T>(
    within: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, Failure> {
    match timeout(within, call).await {
        Ok(answer) => Ok(answer?.into_inner()),
        Err(_) => {
            let problem = format!("no answer within {}; --timeout waits longer", Span(within));
            Err(Failure::new(Code::NoSeat, problem))
        }
    }
}

/// A connection, and how to show what comes.
struct Ctl {
    connection: Connection,
    within: Duration,
    screen: Screen,
}

impl Ctl {
    /// An answer, in time.
    async fn ask<T>(
        &self,
        call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, Failure> {
        in_time(self.within, call).await
    }

    async fn get(&self, what: What) -> Result<(), Failure> {
        let (mut runtime, mut splitter, mut peer) =
            (self.connection.runtime(), self.connection.splitter(), self.connection.peer());
        match what {
            What::Info => {
                let info = self.ask(runtime.get_info(v1::GetInfoRequest {})).await?.info;
                self.screen.object("info", &info.unwrap_or_default());
            }
            What::Config => {
                let toml = self.ask(runtime.get_config(v1::GetConfigRequest {})).await?.toml;
                self.screen.done(&toml, &json!({ "toml": toml }));
            }
            What::Channel => {
                let channel = self.ask(splitter.get_channel(v1::GetChannelRequest {})).await?.channel;
                self.screen.object("channel", &channel.unwrap_or_default());
            }
            What::Team => {
                let team = self.ask(splitter.get_team(v1::GetTeamRequest {})).await?.team;
                self.screen.object("team", &team.unwrap_or_default());
            }
            What::Limits => self.get_limits().await?,
            What::Buffer => self.buffer().await?,
            What::Peers => {
                let peers = self.peers().await?;
                self.screen.list("peers", &peers);
            }
            What::Bans => {
                let bans = self.bans().await?;
                self.screen.list("bans", &bans);
            }
            What::Status => {
                let status = self.ask(peer.get_status(v1::GetStatusRequest {})).await?.status;
                self.screen.object("status", &status.unwrap_or_default());
            }
            What::Neighbours => {
                let neighbours = self.neighbours().await?;
                self.screen.list("neighbours", &neighbours);
            }
        }
        Ok(())
    }

    async fn peers(&self) -> Result<Vec<v1::Peer>, Failure> {
        let mut client = self.connection.splitter();
        let mut peers = Vec::new();
        let mut request = v1::ListPeersRequest { page_size: PAGE, ..v1::ListPeersRequest::default() };
        loop {
            let page = self.ask(client.list_peers(request.clone())).await?;
            peers.extend(page.peers);
            if page.next_page_token.is_empty() {
                return Ok(peers);
            }
            request.page_token = page.next_page_token;
        }
    }

    async fn neighbours(&self) -> Result<Vec<v1::Neighbour>, Failure> {
        let mut client = self.connection.peer();
        let mut neighbours = Vec::new();
        let mut request = v1::ListNeighboursRequest { page_size: PAGE, ..Default::default() };
        loop {
            let page = self.ask(client.list_neighbours(request.clone())).await?;
            neighbours.extend(page.neighbours);
            if page.next_page_token.is_empty() {
                return Ok(neighbours);
            }
            request.page_token = page.next_page_token;
        }
    }

    async fn bans(&self) -> Result<Vec<v1::Ban>, Failure> {
        let mut client = self.connection.splitter();
        let mut bans = Vec::new();
        let mut request = v1::ListBansRequest { page_size: PAGE, ..Default::default() };
        loop {
            let page = self.ask(client.list_bans(request.clone())).await?;
            bans.extend(page.bans);
            if page.next_page_token.is_empty() {
                return Ok(bans);
            }
            request.page_token = page.next_page_token;
        }
    }

    async fn buffer(&self) -> Result<(), Failure> {
        let map = self.ask(self.connection.peer().get_buffer_map(v1::GetBufferMapRequest {})).await?.map;
        let line =
            map.as_ref().map_or_else(|| "no seat, no buffer".to_owned(), |map| buffer::lines(map).join("\n"));
        self.screen.done(&line, &json!({ "buffer": map }));
        Ok(())
    }

    async fn describe(&self, peer: &str) -> Result<(), Failure> {
        let info = self.ask(self.connection.runtime().get_info(v1::GetInfoRequest {})).await?.info;
        if info.is_some_and(|info| info.role() == v1::Role::Peer) {
            let mut neighbours = self.neighbours().await?;
            let key = named(peer, neighbours.iter().map(|record| record.peer.clone()), "teammate's key")?;
            neighbours.retain(|record| record.peer == key);
            self.screen.object("neighbour", &neighbours.pop().unwrap_or_default());
            return Ok(());
        }
        let peer = self.member(peer).await?;
        let request = v1::GetPeerRequest { peer, read_mask: None };
        let found = self.ask(self.connection.splitter().get_peer(request)).await?.peer.unwrap_or_default();
        self.screen.object("peer", &found);
        Ok(())
    }

    async fn expel(&self, peer: &str, ban: Span) -> Result<(), Failure> {
        let peer = self.member(peer).await?;
        let request =
            v1::ExpelPeerRequest { peer, ban_ms: Some(millis(ban)), ..v1::ExpelPeerRequest::default() };
        let peer = request.peer.clone();
        let slot = self.ask(self.connection.splitter().expel_peer(request)).await?.slot;
        self.screen
            .done(&format!("expelled {peer} from slot {slot}"), &json!({ "peer": peer, "slot": slot }));
        Ok(())
    }

    async fn ban(&self, peer: &str, span: Span) -> Result<(), Failure> {
        let peer = self.member(peer).await?;
        let request = v1::BanPeerRequest {
            peer: peer.clone(),
            ban_ms: Some(millis(span)),
            ..v1::BanPeerRequest::default()
        };
        let slot = self.ask(self.connection.splitter().ban_peer(request)).await?.slot;
        let seat = slot.map_or_else(String::new, |slot| format!(", which had slot {slot}"));
        self.screen.done(
            &format!("banned {peer}{seat} for {span}"),
            &json!({ "peer": peer, "slot": slot, "ban_ms": millis(span) }),
        );
        Ok(())
    }

    async fn unban(&self, peer: &str) -> Result<(), Failure> {
        let peer = if peer.len() == KEY_CHARACTERS {
            peer.to_owned()
        } else {
            let keys = self.bans().await?.into_iter().map(|ban| ban.peer);
            named(peer, keys, "banned key")?
        };
        let request = v1::UnbanPeerRequest { peer: peer.clone(), request_id: String::new() };
        self.ask(self.connection.splitter().unban_peer(request)).await?;
        self.screen.done(&format!("{peer} may join again"), &json!({ "peer": peer }));
        Ok(())
    }

    async fn log_level(&self, filter: Option<String>) -> Result<(), Failure> {
        let mut runtime = self.connection.runtime();
        match filter {
            None => {
                let filter = self.ask(runtime.get_log_level(v1::GetLogLevelRequest {})).await?.filter;
                self.screen.done(&filter, &json!({ "filter": filter }));
            }
            Some(filter) => {
                let request = v1::SetLogLevelRequest { filter: filter.clone(), request_id: String::new() };
                let previous = self.ask(runtime.set_log_level(request)).await?.previous;
                self.screen.done(
                    &format!("the log shows {filter}; before: {previous}"),
                    &json!({ "filter": filter, "previous": previous }),
                );
            }
        }
        Ok(())
    }

    /// The key of a member that is named by it or by its beginning; a whole key may be a stranger's.
    async fn member(&self, name: &str) -> Result<String, Failure> {
        if name.len() == KEY_CHARACTERS {
            return Ok(name.to_ascii_lowercase());
        }
        named(name, self.peers().await?.into_iter().map(|peer| peer.peer), "member's key")
    }
}

/// The one key that begins like this.
fn named(prefix: &str, keys: impl Iterator<Item = String>, what: &str) -> Result<String, Failure> {
    if prefix.len() < PREFIX_CHARACTERS_MIN {
        let problem = format!("write at least {PREFIX_CHARACTERS_MIN} characters of the {what}");
        return Err(Failure::new(Code::Usage, problem));
    }
    let wanted = prefix.to_ascii_lowercase();
    let mut found = keys.filter(|key| key.starts_with(&wanted));
    match (found.next(), found.next()) {
        (Some(key), None) => Ok(key),
        (Some(_), Some(_)) => Err(Failure::new(
            Code::Usage,
            format!("more than one {what} begins with {prefix}: write more of it"),
        )),
        (None, _) => Err(Failure::new(Code::Absent, format!("no {what} begins with {prefix}"))),
    }
}

fn millis(span: Span) -> u64 {
    u64::try_from(span.0.as_millis()).unwrap_or(u64::MAX)
}

/// Whether a format is for people.
const fn is_table(output: Output) -> bool {
    matches!(output, Output::Table | Output::Wide)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_named_by_their_beginning() {
        let keys = || ["abcd1", "abcd2", "abxy3"].map(str::to_owned).into_iter();
        assert_eq!(named("ABXY", keys(), "key").unwrap(), "abxy3");
        for (prefix, code, says) in [
            ("abcd", Code::Usage, "more than one"),
            ("abc", Code::Usage, "at least 4"),
            ("zzzz", Code::Absent, "no key begins with zzzz"),
        ] {
            let failure = named(prefix, keys(), "key").unwrap_err();
            assert_eq!(failure.code(), Failure::new(code, "").code(), "{prefix}");
            assert!(failure.to_string().contains(says), "{failure}");
        }
    }
}
