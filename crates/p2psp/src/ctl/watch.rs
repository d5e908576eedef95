//! Showing changes as they come. When the process says that this reader was too slow, it begins anew with all records; when the
//! process ends, so does this.

use super::{Columns, Ctl, is_table};
use crate::{cli::Output, exit::Failure};
use p2psp_admin::v1;
use serde_json::{Value, json};

/// A change of any kind of records.
enum Change<T> {
    All(Vec<T>),
    Put(T),
    Gone { slot: u32, peer: String, reason: String },
    Alive,
}

/// Shows a splitter's members, and who comes and goes.
pub(super) async fn peers(ctl: &Ctl) -> Result<(), Failure> {
    use v1::watch_team_response::Event;
    let mut lines = Lines::new(ctl, "peer");
    loop {
        let mut client = ctl.connection.splitter();
        let mut messages = ctl.ask(client.watch_team(v1::WatchTeamRequest::default())).await?;
        let end = loop {
            match messages.message().await {
                Ok(Some(message)) => lines.show(
                    message.revision,
                    match message.event {
                        Some(Event::Snapshot(all)) => Change::All(all.peers),
                        Some(Event::Changed(peer)) => Change::Put(peer),
                        Some(Event::Departed(v1::PeerDeparture { slot, peer, reason })) => {
                            Change::Gone { slot, peer, reason }
                        }
                        None => Change::Alive,
                    },
                ),
                Ok(None) => return Ok(()),
                Err(status) => break status,
            }
        };
        again(end)?;
    }
}

/// Shows a peer's teammates, and who comes and goes.
pub(super) async fn neighbours(ctl: &Ctl) -> Result<(), Failure> {
    use v1::watch_neighbours_response::Event;
    let mut lines = Lines::new(ctl, "neighbour");
    loop {
        let mut client = ctl.connection.peer();
        let mut messages = ctl.ask(client.watch_neighbours(v1::WatchNeighboursRequest::default())).await?;
        let end = loop {
            match messages.message().await {
                Ok(Some(message)) => lines.show(
                    message.revision,
                    match message.event {
                        Some(Event::Snapshot(all)) => Change::All(all.neighbours),
                        Some(Event::Changed(neighbour)) => Change::Put(neighbour),
                        Some(Event::Departed(v1::NeighbourDeparture { slot, peer })) => {
                            Change::Gone { slot, peer, reason: "gone".to_owned() }
                        }
                        None => Change::Alive,
                    },
                ),
                Ok(None) => return Ok(()),
                Err(status) => break status,
            }
        };
        again(end)?;
    }
}

/// Whether to begin anew; otherwise it failed.
fn again(end: tonic::Status) -> Result<(), Failure> {
    if end.code() == tonic::Code::ResourceExhausted { Ok(()) } else { Err(end.into()) }
}

/// The lines of a watch.
struct Lines<'a> {
    ctl: &'a Ctl,
    name: &'static str,
    titled: bool,
}

impl<'a> Lines<'a> {
    const fn new(ctl: &'a Ctl, name: &'static str) -> Self {
        Self { ctl, name, titled: false }
    }

    fn show<T: Columns + Default>(&mut self, revision: u64, change: Change<T>) {
        let output = self.ctl.screen.0;
        if is_table(output) {
            let rows = match change {
                Change::All(records) => {
                    records.iter().map(|record| record.cells(output == Output::Wide)).collect()
                }
                Change::Put(record) => vec![record.cells(output == Output::Wide)],
                Change::Gone { slot, peer, reason } => {
                    vec![gone::<T>(slot, &peer, &reason, output == Output::Wide)]
                }
                Change::Alive => return,
            };
            self.ctl.screen.rows::<T>(rows, !self.titled);
            self.titled = true;
        } else {
            let event = match change {
                Change::All(records) => {
                    object("snapshot", revision, &format!("{}s", self.name), json!(records))
                }
                Change::Put(record) => object("changed", revision, self.name, json!(record)),
                Change::Gone { slot, peer, reason } => {
                    let last = json!({ "slot": slot, "peer": peer, "reason": reason });
                    object("departed", revision, self.name, last)
                }
                Change::Alive => return,
            };
            self.ctl.screen.event(&event);
        }
    }
}

fn object(event: &str, revision: u64, name: &str, value: Value) -> Value {
    json!({ "event": event, "revision": revision, name: value })
}

/// The row of a record that is gone: nothing but who it was, and why, where its state stood.
fn gone<T: Columns + Default>(slot: u32, peer: &str, reason: &str, wide: bool) -> Vec<String> {
    let key: String = if wide { peer.to_owned() } else { peer.chars().take(10).collect() };
    let known = [slot.to_string(), key, reason.to_owned()];
    let rest = T::HEADS.len().saturating_sub(known.len());
    known.into_iter().chain(std::iter::repeat_n("-".to_owned(), rest)).collect()
}
