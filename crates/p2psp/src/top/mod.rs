//! `p2psp top`: a running team or peer on the terminal, over the same admin API as everyone's. Owns the terminal, which is
//! left as it was whatever ends the view, and brings keys, signals and news to the state; what they mean is `state`'s, how it looks `view`'s.

mod data;
mod feed;
mod history;
mod state;
#[cfg(test)]
mod tests;
mod text;
mod view;

use crate::{
    cli::TopArgs,
    exit::{Code, Failure},
};
use crossterm::{event::Event, terminal::is_raw_mode_enabled};
use feed::Target;
use state::State;
use std::{
    fmt,
    io::{self, IsTerminal, stdin, stdout},
    thread,
    time::Duration,
};
use tokio::{
    select,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

/// Processes that are asked at once: the first and those of `--peer`.
const PEERS_MAX: usize = 32;
/// News that wait for the view.
const NEWS_MAX: usize = 64;
/// Keys that wait for the view; more wait in the terminal.
const KEYS_MAX: usize = 64;
/// Figures change once a second; asking oftener than this only costs.
const EVERY_MIN: Duration = Duration::from_millis(100);
/// How often ages are told anew.
const AGES_EVERY: Duration = Duration::from_secs(1);

/// Shows the view until its user or a signal ends it.
///
/// # Errors
///
/// Nobody answers at the start, this side is not let in, or there is no terminal.
pub(crate) async fn run(args: TopArgs) -> Result<(), Failure> {
    if !stdin().is_terminal() || !stdout().is_terminal() {
        let line = "top needs a terminal on standard input and output; `p2psp ctl get` is for programs";
        return Err(Failure::new(Code::Usage, line));
    }
    if args.peer.len() > PEERS_MAX {
        let line = format!("--peer was given {} addresses; {PEERS_MAX} at most", args.peer.len());
        return Err(Failure::new(Code::Usage, line));
    }
    let addresses: Vec<_> = std::iter::once(&args.connection.admin).chain(&args.peer).cloned().collect();
    let target = |(end, address)| Target {
        end,
        address,
        credentials: args.connection.credentials(),
        within: args.connection.timeout.0,
        every: args.every.0.max(EVERY_MIN),
    };
    let names = addresses.iter().map(|address| text::clean(&address.to_string())).collect::<Vec<_>>();
    let targets: Vec<Target> = addresses.into_iter().enumerate().map(target).collect();
    // A wrong address or token is told at once, and not by an empty screen.
    let mut first = match targets.first() {
        Some(target) => Some(target.open().await?),
        None => None,
    };
    let (sender, news) = mpsc::channel(NEWS_MAX);
    let mut feeds = JoinSet::new();
    for target in targets {
        feeds.spawn(target.follow(first.take(), sender.clone()));
    }
    let is_coloured = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    show(State::new(names, is_coloured), news, feeds).await
}

fn terminal_failed(error: impl fmt::Display) -> Failure {
    Failure::new(Code::Runtime, format!("the terminal failed: {error}"))
}

/// The terminal while the view has it; dropping it gives it back as it was. A panic does so, too, before it is told.
struct Screen(ratatui::DefaultTerminal);

impl Screen {
    fn open() -> io::Result<Self> {
        ratatui::try_init().map(Self).inspect_err(|_| ratatui::restore())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // After a panic it has been given back already; once more would write over what was told since.
        if is_raw_mode_enabled().unwrap_or(true) {
            ratatui::restore();
        }
    }
}

async fn show(
    mut state: State,
    mut news: mpsc::Receiver<(usize, data::News)>,
    mut feeds: JoinSet<()>,
) -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(terminal_failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(terminal_failed)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(terminal_failed)?;
    let mut ages = interval(AGES_EVERY);
    ages.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut screen = Screen::open().map_err(terminal_failed)?;
    let mut keys = keyboard().map_err(terminal_failed)?;
    while !state.quit {
        state.tick(p2psp_admin::unix_ms());
        screen.0.draw(|frame| view::draw(&state, frame)).map_err(terminal_failed)?;
        select! {
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
            event = keys.recv() => match event {
                Some(Ok(Event::Key(key))) => state.press(key),
                // A new size is asked for with each frame.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(terminal_failed(error)),
                None => return Ok(()),
            },
            Some((end, told)) = news.recv() => {
                state.apply(end, told);
                // What else is there comes into the same frame.
                for _ in 0..NEWS_MAX {
                    let Ok((end, told)) = news.try_recv() else { break };
                    state.apply(end, told);
                }
            }
            // They follow for as long as there is a view. A panic has given the terminal back already.
            Some(ended) = feeds.join_next() => {
                return ended.map_err(|error| Failure::new(Code::Runtime, format!("the view failed: {error}")));
            }
            _ = ages.tick() => {}
        }
    }
    Ok(())
}

/// Keys and sizes, read on a thread that ends with the process: a read of the terminal cannot be called back.
fn keyboard() -> io::Result<mpsc::Receiver<io::Result<Event>>> {
    let (sender, keys) = mpsc::channel(KEYS_MAX);
    thread::Builder::new().name("keyboard".to_owned()).spawn(move || {
        loop {
            let event = crossterm::event::read();
            let failed = event.is_err();
            if sender.blocking_send(event).is_err() || failed {
                return;
            }
        }
    })?;
    Ok(keys)
}
