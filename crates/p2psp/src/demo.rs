//! `p2psp demo`: a splitter and a team of peers on this machine, each a process of its own, with a table of how they do. Owns the
//! children: however it ends, none of them outlives it, and it leaves no file behind.

mod child;
mod compare;
mod http;
mod player;
mod table;
mod verdict;

use crate::{
    cli::{DemoArgs, Integrity},
    exit::{Code, Failure},
    signals::Stop,
};
use child::{Child, ChildError};
use player::Player;
use serde_json::Value;
use std::{
    io::{IsTerminal, stdout},
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    time::Duration,
};
use table::Screen;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use verdict::Evidence;

/// How long a check runs when nobody says.
const CHECK_FOR: Duration = Duration::from_secs(10);
/// Between two tables: often on a terminal, seldom in a file.
const DRAW_PERIOD_LIVE: Duration = Duration::from_secs(1);
const DRAW_PERIOD_PLAIN: Duration = Duration::from_secs(5);
/// Longest wait for a peer's figures.
const STATS_WAIT: Duration = Duration::from_millis(900);
/// How long the children may take to leave: their own grace time, and some for the processes to end.
const LEAVE_WAIT: Duration = Duration::from_secs(6);

/// A peer of the demo.
struct Member {
    child: Child,
    player: SocketAddr,
    /// Its newest figures; `None` when it did not answer.
    stats: Option<Value>,
}

/// How the show ended.
enum Finale {
    /// The time was over, or someone asked.
    Asked,
    /// The source has ended, and the team has left.
    StreamOver,
    /// This child ended, and nobody knows why.
    Died(String),
}

/// Runs the demo.
///
/// # Errors
///
/// A child that does not start or dies; a check that does not pass.
pub(crate) async fn run(args: DemoArgs) -> Result<(), Failure> {
    let stop = Stop::listen(false)
        .map_err(|error| Failure::new(Code::Runtime, format!("cannot listen to signals: {error}")))?;
    let mut stop = std::pin::pin!(stop.asked());
    let mut screen = Screen::new(stdout().is_terminal());

    let mut splitter =
        Child::start("the splitter", &splitter_arguments(&args), args.input == "-").map_err(failure)?;
    let ready = splitter.ready().await.map_err(failure)?;
    let link = text(&ready, "link");
    let mut team = Vec::new();
    for number in 1..=args.peers {
        let name = format!("peer {number}");
        let child =
            Child::start(&name, &peer_arguments(&args, &link, number == 1), false).map_err(failure)?;
        team.push(Member { child, player: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), stats: None });
    }
    for member in &mut team {
        let ready = member.child.ready().await.map_err(failure)?;
        member.player =
            text(&ready, "player").trim_start_matches("http://").trim_end_matches('/').parse().map_err(
                |_| Failure::new(Code::Runtime, format!("{} told no player address", member.child.name())),
            )?;
    }
    let admin = ready.pointer("/admin/0").and_then(Value::as_str).unwrap_or_default().to_owned();
    greet(&mut screen, &team, &link, &admin);

    let players: Vec<Player> = if args.check {
        team.iter().map(|member| Player::start(member.player)).collect()
    } else {
        Vec::new()
    };
    let duration = args.duration.map(|span| span.0).or_else(|| args.check.then_some(CHECK_FOR));
    let finale = watch(&mut splitter, &mut team, duration, stop.as_mut(), &mut screen).await;

    let mut evidence = Vec::new();
    for (player, member) in players.into_iter().zip(&team) {
        let recording = player.stop().await;
        let lost_chunks = member.stats.as_ref().and_then(|stats| stats["lost_chunks_total"].as_u64());
        evidence.push(Evidence { recording, lost_chunks });
    }
    leave(&mut splitter, &mut team, &mut screen).await;

    let stream_over = matches!(finale, Finale::StreamOver);
    if let Finale::Died(obituary) = finale {
        return Err(Failure::new(Code::Runtime, obituary));
    }
    if args.check {
        let (rows, passed) = verdict::judge(&evidence, stream_over);
        table::lines(&verdict::HEADS, &rows).iter().for_each(|line| screen.say(line));
        if !passed {
            let line = "the check failed: see the last column";
            return Err(Failure::new(Code::Check, line));
        }
        screen.say("every peer played the same bytes, and none was lost");
    }
    Ok(())
}

fn greet(screen: &mut Screen, team: &[Member], link: &str, admin: &str) {
    if let Some(first) = team.first() {
        screen.say(&format!("watch         http://{}/   in a browser", first.player));
        screen.say(&format!("              http://{}/live   in VLC, mpv or any player", first.player));
    }
    screen.say(&format!("channel link  {link}"));
    screen.say(&format!("operators     p2psp ctl --admin {admin} get peers"));
    screen.say("Ctrl-C ends it.");
    screen.say("");
}

/// Shows how everyone does until the time is over, someone asks, or a child ends. The members' last figures are theirs from then.
async fn watch(
    splitter: &mut Child,
    team: &mut [Member],
    duration: Option<Duration>,
    mut stop: Pin<&mut impl Future<Output = ()>>,
    screen: &mut Screen,
) -> Finale {
    let period = if screen.is_live() { DRAW_PERIOD_LIVE } else { DRAW_PERIOD_PLAIN };
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = duration.map(|duration| Instant::now() + duration);
    loop {
        let ended = tokio::select! {
            () = stop.as_mut() => Some(None),
            () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => Some(None),
            died = first_ended(splitter, team) => Some(Some(died)),
            _ = ticks.tick() => None,
        };
        if ended.is_none() || matches!(ended, Some(None)) {
            ask_all(team).await;
            draw(screen, splitter, team);
        }
        match ended {
            None => {}
            Some(None) => return Finale::Asked,
            Some(Some(place)) => return after_end(splitter, team, place).await,
        }
    }
}

/// Which child ended: 0 is the splitter, the team counts from 1. Cancel safe.
async fn first_ended(splitter: &mut Child, team: &mut [Member]) -> usize {
    let mut children: Vec<Pin<Box<dyn Future<Output = _> + Send + '_>>> = vec![Box::pin(splitter.ended())];
    children
        .extend(team.iter_mut().map(|member| -> Pin<Box<dyn Future<Output = _> + Send + '_>> {
            Box::pin(member.child.ended())
        }));
    std::future::poll_fn(move |context| {
        let ended = children.iter_mut().position(|child| child.as_mut().poll(context).is_ready());
        ended.map_or(std::task::Poll::Pending, std::task::Poll::Ready)
    })
    .await
}

/// A child has ended unasked. When it did so in peace, the stream is over, and the others follow.
async fn after_end(splitter: &mut Child, team: &mut [Member], place: usize) -> Finale {
    let deadline = Instant::now() + LEAVE_WAIT;
    let first = match place.checked_sub(1).and_then(|place| team.get(place)) {
        Some(member) => &member.child,
        None => &*splitter,
    };
    if !first.succeeded() {
        return Finale::Died(first.obituary());
    }
    let mut children: Vec<&mut Child> = vec![splitter];
    children.extend(team.iter_mut().map(|member| &mut member.child));
    for child in children {
        let ended = tokio::time::timeout_at(deadline, child.ended()).await.is_ok();
        if !ended || !child.succeeded() {
            return Finale::Died(child.obituary());
        }
    }
    for member in team {
        // A peer's last words are its final figures.
        member.stats = member.child.stats().or_else(|| member.stats.take());
    }
    Finale::StreamOver
}

/// Asks all peers for their figures at once.
async fn ask_all(team: &mut [Member]) {
    let asked: Vec<_> = team
        .iter()
        .map(|member| {
            let player = member.player;
            p2psp_net::tasks::spawn("peer's figures", async move {
                timeout(STATS_WAIT, http::get_json(player, "/stats")).await
            })
        })
        .collect();
    for (member, answer) in team.iter_mut().zip(asked) {
        member.stats = match answer.await {
            Ok(Ok(Ok(stats))) => Some(stats),
            _ => None,
        };
    }
}

fn draw(screen: &mut Screen, splitter: &Child, team: &[Member]) {
    let rows: Vec<Vec<String>> = team
        .iter()
        .enumerate()
        .map(|(index, member)| table::row(&(index + 1).to_string(), member.player, member.stats.as_ref()))
        .collect();
    let mut lines = vec![table::splitter_line(splitter.stats().as_ref())];
    lines.extend(table::lines(&table::HEADS, &rows));
    if !screen.is_live() {
        lines.push(String::new());
    }
    screen.draw(&lines);
}

/// Lets everyone leave in peace, the peers first; kills who does not.
async fn leave(splitter: &mut Child, team: &mut [Member], screen: &mut Screen) {
    let deadline = Instant::now() + LEAVE_WAIT;
    for member in &mut *team {
        member.child.stop();
    }
    let mut children: Vec<&mut Child> = team.iter_mut().map(|member| &mut member.child).collect();
    children.push(splitter);
    for child in children {
        child.stop();
        if !child.gone(deadline.saturating_duration_since(Instant::now())).await {
            screen.say(&format!("{} did not leave in time and was killed", child.name()));
        }
    }
}

fn splitter_arguments(args: &DemoArgs) -> Vec<String> {
    let mut arguments =
        words(&["splitter", "--listen", "127.0.0.1:0", "--stats-every", "1s", "--team-size", "128"]);
    arguments.extend(words(&["--admin", "127.0.0.1:0"]));
    arguments.extend([format!("--input={}", args.input), format!("--wait-peers={}", args.peers)]);
    arguments.extend(args.rate.map(|rate| format!("--rate={rate}")));
    arguments.extend(args.integrity.map(|integrity| format!("--integrity={}", integrity.name())));
    arguments.extend(args.parity.map(|parity| format!("--parity={parity}")));
    arguments.extend(args.repeat.then(|| "--loop".to_owned()));
    arguments
}

fn peer_arguments(args: &DemoArgs, link: &str, first: bool) -> Vec<String> {
    let mut arguments = words(&["peer", link, "--listen", "127.0.0.1:0"]);
    // Everyone's page is served; only the first one's address is worth remembering.
    let port = if first { args.player_port } else { 0 };
    arguments.extend([format!("--player=127.0.0.1:{port}"), "--player-next-free".to_owned()]);
    arguments.extend(args.delay.map(|delay| format!("--delay={delay}")));
    if args.integrity == Some(Integrity::None) {
        arguments.push("--allow-unsigned".to_owned());
    }
    arguments
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

fn failure(error: ChildError) -> Failure {
    Failure::of(Code::Runtime, &error)
}
