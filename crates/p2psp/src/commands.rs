//! What the commands do: settings into a runtime, the runtime until it ends, its end into an exit code.

use crate::{
    cli::{PeerArgs, ReportArgs, SplitterArgs},
    exit::{Code, Failure},
    logging::Log,
    operators::{Operators, Steering},
    reload::{self, Reload},
    report::Report,
    settings,
    signals::Stop,
    supervisor,
};
use p2psp_admin::Admin;
use p2psp_net::Identity;
use serde::Serialize;
use std::{net::SocketAddr, path::Path, process, sync::Arc};
use tracing::info;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The ready line of a splitter.
#[derive(Serialize)]
struct SplitterReady<'a> {
    role: &'static str,
    version: &'static str,
    pid: u32,
    channel: String,
    link: &'a str,
    listen: SocketAddr,
    epoch: u32,
    /// Where the source is pushed to, if it is.
    ingest: Option<SocketAddr>,
    /// Where operators are answered.
    admin: Vec<String>,
}

/// The ready line of a peer.
#[derive(Serialize)]
struct PeerReady<'a> {
    role: &'static str,
    version: &'static str,
    pid: u32,
    peer: String,
    channel: String,
    listen: SocketAddr,
    player: Option<&'a str>,
    live: Option<String>,
    stats: Option<String>,
    /// Where operators are answered.
    admin: Vec<String>,
}

/// Runs a splitter to its end.
pub(crate) async fn splitter(
    reload: Reload<SplitterArgs>,
    report: ReportArgs,
    log: Log,
) -> Result<(), Failure> {
    let args = reload.in_force().clone();
    if report.stop_on_eof && args.input.as_deref() == Some("-") {
        let line =
            "--stop-on-eof and --input - both want standard input; the source's end ends the splitter anyway";
        return Err(Failure::new(Code::Usage, line));
    }
    let stop = listen(&report)?;
    let config = settings::splitter(&args, identity(args.key.as_deref())?)?;
    let operators = Operators::open(args.admin.as_deref(), &args.guard()).await?;
    let mut running = p2psp_splitter::Running::start(config).await.map_err(|error| {
        let usage = matches!(error, p2psp_splitter::StartError::Config(_));
        Failure::of(if usage { Code::Usage } else { Code::Runtime }, &error)
    })?;
    let report = Report::new(report);
    let link = running.link().to_string();
    let ready = SplitterReady {
        role: "splitter",
        version: VERSION,
        pid: process::id(),
        channel: running.link().channel.to_string(),
        link: &link,
        listen: running.local_addr(),
        epoch: running.epoch().0,
        ingest: running.ingest_addr(),
        admin: operators.binds(),
    };
    let mut lines = vec![("channel link", link.clone()), ("watch with", format!("p2psp peer '{link}'"))];
    lines.extend(ready.ingest.map(|address| ("source", format!("awaited at {address}"))));
    lines.extend(admin_lines(&ready.admin));
    let log = Arc::new(log);
    let process = Arc::new(Steering { config: reload.shown(), log: Arc::clone(&log), stop: stop.clone() });
    // Who reads that the process is ready may send the signal.
    let team = Some(running.steering());
    reload.listen(reload::Running { log, doors: operators.doors(), team, stop: stop.clone() })?;
    report.ready(&ready, &lines);
    supervisor::ready();
    let answering = operators.answer(|| Admin::splitter(process, running.admin()), stop.clone());
    if args.key.is_none() {
        info!("the channel is new with each start; --key FILE keeps its link");
    }

    let stats = running.stats();
    let outcome = tokio::select! {
        outcome = running.run_until(leaving(stop)) => outcome,
        never = report.stats(|| stats.newest()) => match never {},
    };
    answering.end().await;
    report.last(&stats.newest());
    outcome
        .map(|ended| info!(?ended, "the splitter has ended"))
        .map_err(|error| Failure::of(Code::Runtime, &error))
}

/// Runs a peer to its end.
pub(crate) async fn peer(reload: Reload<PeerArgs>, report: ReportArgs, log: Log) -> Result<(), Failure> {
    let args = reload.in_force().clone();
    let stop = listen(&report)?;
    let config = settings::peer(&args, identity(args.key.as_deref())?)?;
    let operators = Operators::open(args.admin.as_deref(), &args.guard()).await?;
    let channel = config.link.channel;
    let mut running = p2psp_peer::Running::start(config).await.map_err(|error| {
        let code = if error.is_unreachable() { Code::NoSeat } else { Code::Runtime };
        Failure::of(code, &error)
    })?;
    let report = Report::new(report);
    let player = running.player_url().map(str::to_owned);
    let below = |path: &str| player.as_ref().map(|url| format!("{url}{path}"));
    let ready = PeerReady {
        role: "peer",
        version: VERSION,
        pid: process::id(),
        peer: running.peer_id().to_string(),
        channel: channel.to_string(),
        listen: running.local_addr(),
        player: player.as_deref(),
        live: below("live"),
        stats: below("stats"),
        admin: operators.binds(),
    };
    let mut lines = match (&player, &ready.live) {
        (Some(page), Some(live)) => vec![("player page", page.clone()), ("stream", live.clone())],
        _ => vec![("relaying", "no player is served".to_owned())],
    };
    lines.extend(admin_lines(&ready.admin));
    let log = Arc::new(log);
    let process = Arc::new(Steering { config: reload.shown(), log: Arc::clone(&log), stop: stop.clone() });
    // Who reads that the process is ready may send the signal.
    reload.listen(reload::Running { log, doors: operators.doors(), team: None, stop: stop.clone() })?;
    report.ready(&ready, &lines);
    supervisor::ready();
    let answering = operators.answer(|| Admin::peer(process, running.admin()), stop.clone());

    let stats = running.stats();
    let outcome = tokio::select! {
        outcome = running.run_until(leaving(stop)) => outcome,
        never = report.stats(|| stats.newest()) => match never {},
    };
    answering.end().await;
    report.last(&stats.newest());
    outcome.map(|ended| info!(?ended, "the peer has ended")).map_err(|error| {
        let code = if error.is_no_seat() { Code::NoSeat } else { Code::Runtime };
        Failure::of(code, &error)
    })
}

/// Ends when the process is asked to leave; its supervisor knows by then.
async fn leaving(stop: Stop) {
    stop.asked().await;
    supervisor::stopping();
}

/// How operators get on from here.
fn admin_lines(binds: &[String]) -> impl Iterator<Item = (&'static str, String)> + '_ {
    binds.iter().map(|bind| ("operators", format!("p2psp ctl --admin {bind} get info")))
}

fn listen(report: &ReportArgs) -> Result<Stop, Failure> {
    Stop::listen(report.stop_on_eof)
        .map_err(|error| Failure::new(Code::Runtime, format!("cannot listen to signals: {error}")))
}

/// The key of a file, or a new one for this run.
fn identity(key: Option<&Path>) -> Result<Identity, Failure> {
    match key {
        Some(path) => Identity::load_or_create(path).map_err(|error| Failure::of(Code::Runtime, &error)),
        None => Ok(Identity::generate()),
    }
}
