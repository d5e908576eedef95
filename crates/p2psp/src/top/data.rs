//! What is known of each process that is asked, from what it told. Every text is cleaned on its way in, and every list has a
//! limit, whatever the other side sends.

use super::{
    history::{History, Trace},
    text::{clean, short},
};
use p2psp_admin::v1;
use std::collections::BTreeMap;

/// Members kept of a team: more than the largest has.
pub(super) const MEMBERS_MAX: usize = 1024;
/// Addresses kept of a member.
const CANDIDATES_MAX: usize = 8;

/// What one process tells.
#[derive(Debug)]
pub(super) enum News {
    /// It answers.
    Up(Box<v1::Info>),
    /// It does not, and why.
    Down(String),
    /// A splitter's channel.
    Channel(Box<v1::Channel>),
    /// A splitter's figures.
    Team(Box<v1::Team>),
    /// All members.
    Members(Vec<v1::Peer>),
    /// A member that is new or has changed.
    Member(v1::Peer),
    /// A member is gone.
    Gone(v1::PeerDeparture),
    /// What changes in members without a message.
    Moved(Vec<v1::Peer>),
    /// A peer's place and figures.
    Status(Box<v1::PeerStatus>),
    /// All teammates.
    Neighbours(Vec<v1::Neighbour>),
    /// A teammate that is new or has changed.
    Neighbour(v1::Neighbour),
    /// A teammate is gone.
    Left(v1::NeighbourDeparture),
    /// What changes in teammates without a message.
    Shifted(Vec<v1::Neighbour>),
}

/// Whether a process answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// Not tried yet.
    Trying,
    /// It does.
    Up,
    /// It does not; it is tried again.
    Down(String),
}

/// A member as its splitter sees it.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) record: v1::Peer,
    pub(super) missing: History,
}

/// All that is known of one process.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) address: String,
    pub(super) link: Link,
    pub(super) info: v1::Info,
    pub(super) channel: v1::Channel,
    pub(super) team: v1::Team,
    pub(super) members: BTreeMap<String, Member>,
    pub(super) status: v1::PeerStatus,
    pub(super) neighbours: BTreeMap<String, v1::Neighbour>,
    pub(super) trace: Trace,
    /// The last change of the team, in words.
    pub(super) last: String,
}

impl End {
    /// Nothing is known yet of who answers at an address.
    pub(super) fn new(address: String) -> Self {
        Self {
            address,
            link: Link::Trying,
            info: v1::Info::default(),
            channel: v1::Channel::default(),
            team: v1::Team::default(),
            members: BTreeMap::new(),
            status: v1::PeerStatus::default(),
            neighbours: BTreeMap::new(),
            trace: Trace::new(),
            last: String::new(),
        }
    }

    /// Takes in what the process told.
    pub(super) fn apply(&mut self, news: News) {
        match news {
            News::Up(info) => {
                self.link = Link::Up;
                self.info = v1::Info {
                    version: clean(&info.version),
                    reason: clean(&info.reason),
                    channel: clean(&info.channel),
                    listen: clean(&info.listen),
                    ..*info
                };
            }
            News::Down(why) => {
                if self.link == Link::Up {
                    self.trace.gap();
                }
                self.link = Link::Down(clean(&why));
            }
            News::Channel(channel) => {
                self.channel = v1::Channel {
                    channel: clean(&channel.channel),
                    link: clean(&channel.link),
                    integrity: clean(&channel.integrity),
                    source: clean(&channel.source),
                    source_state: clean(&channel.source_state),
                    source_reason: clean(&channel.source_reason),
                    container: clean(&channel.container),
                    source_listen: clean(&channel.source_listen),
                    ..*channel
                }
            }
            News::Team(team) => {
                self.trace.feed(&team.figures.unwrap_or_default());
                self.team = v1::Team { channel: clean(&team.channel), ..*team };
            }
            News::Members(all) => {
                // Those who are still there keep their past.
                let mut before = std::mem::take(&mut self.members);
                for record in all.into_iter().take(MEMBERS_MAX).map(member) {
                    let missing =
                        before.remove(&record.peer).map(|member| member.missing).unwrap_or_default();
                    self.members.insert(record.peer.clone(), Member { record, missing });
                }
            }
            News::Member(record) => {
                let record = member(record);
                if let Some(known) = self.members.get_mut(&record.peer) {
                    known.record = record;
                } else if self.members.len() < MEMBERS_MAX {
                    self.last = format!("slot {} taken by {}", record.slot, short(&record.peer));
                    self.members.insert(record.peer.clone(), Member { record, missing: History::default() });
                }
            }
            News::Gone(gone) => {
                let peer = clean(&gone.peer);
                self.members.remove(&peer);
                self.last = format!("slot {} left by {}: {}", gone.slot, short(&peer), clean(&gone.reason));
            }
            News::Moved(all) => {
                for moved in all.into_iter().take(MEMBERS_MAX).map(member) {
                    // Who is a member, the watch says: this list may be older.
                    if let Some(known) = self.members.get_mut(&moved.peer) {
                        known.missing.push(moved.missing_ratio);
                        known.record.blocked = moved.blocked;
                        known.record.missing_ratio = moved.missing_ratio;
                    }
                }
            }
            News::Status(status) => {
                self.trace.feed(&status.figures.clone().unwrap_or_default());
                self.status = v1::PeerStatus {
                    peer: clean(&status.peer),
                    channel: clean(&status.channel),
                    state: clean(&status.state),
                    trouble: clean(&status.trouble),
                    observed: clean(&status.observed),
                    player: clean(&status.player),
                    ..*status
                };
            }
            News::Neighbours(all) => {
                let all = all.into_iter().take(MEMBERS_MAX).map(neighbour);
                self.neighbours = all.map(|record| (record.peer.clone(), record)).collect();
            }
            News::Neighbour(record) => {
                let record = neighbour(record);
                if self.neighbours.contains_key(&record.peer) || self.neighbours.len() < MEMBERS_MAX {
                    self.neighbours.insert(record.peer.clone(), record);
                }
            }
            News::Left(gone) => {
                let peer = clean(&gone.peer);
                self.neighbours.remove(&peer);
                self.last = format!("slot {} left by {}", gone.slot, short(&peer));
            }
            News::Shifted(all) => {
                for shifted in all.into_iter().take(MEMBERS_MAX).map(neighbour) {
                    if let Some(known) = self.neighbours.get_mut(&shifted.peer) {
                        known.blocked = shifted.blocked;
                    }
                }
            }
        }
    }

    /// Whether a splitter answers here.
    pub(super) fn is_splitter(&self) -> bool {
        self.info.role() == v1::Role::Splitter
    }
}

fn member(record: v1::Peer) -> v1::Peer {
    v1::Peer {
        peer: clean(&record.peer),
        remote: clean(&record.remote),
        candidates: candidates(&record.candidates),
        ..record
    }
}

fn neighbour(record: v1::Neighbour) -> v1::Neighbour {
    v1::Neighbour { peer: clean(&record.peer), candidates: candidates(&record.candidates), ..record }
}

fn candidates(all: &[String]) -> Vec<String> {
    all.iter().take(CANDIDATES_MAX).map(|candidate| clean(candidate)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(slot: u32) -> v1::Peer {
        v1::Peer { slot, peer: format!("key{slot}"), missing_ratio: Some(0.5), ..v1::Peer::default() }
    }

    /// A snapshot replaces the members and keeps the past of those who stay; a list that is older than the last departure brings
    /// nobody back.
    #[test]
    fn members_follow_the_watch() {
        let mut end = End::new("here".to_owned());
        end.apply(News::Members(vec![peer(1), peer(2)]));
        end.apply(News::Moved(vec![peer(1), peer(2)]));
        end.apply(News::Gone(v1::PeerDeparture { slot: 2, peer: "key2".into(), reason: "crashed".into() }));
        assert_eq!(end.last, "slot 2 left by key2: crashed");
        end.apply(News::Moved(vec![peer(1), peer(2)]));
        end.apply(News::Members(vec![peer(1), peer(3)]));
        let past: Vec<(&str, usize)> =
            end.members.iter().map(|(key, member)| (key.as_str(), member.missing.values().len())).collect();
        assert_eq!(past, [("key1", 2), ("key3", 0)]);
    }

    /// One more than the limit, in a snapshot and one by one.
    #[test]
    fn no_list_grows_without_bound() {
        let mut end = End::new("here".to_owned());
        let many = || (0..=u32::try_from(MEMBERS_MAX).unwrap()).map(peer);
        end.apply(News::Members(many().collect()));
        assert_eq!(end.members.len(), MEMBERS_MAX);
        many().for_each(|peer| end.apply(News::Member(peer)));
        assert_eq!(end.members.len(), MEMBERS_MAX);
        for slot in 0..=u32::try_from(MEMBERS_MAX).unwrap() {
            let peer = format!("key{slot}");
            end.apply(News::Neighbour(v1::Neighbour { slot, peer, ..v1::Neighbour::default() }));
        }
        assert_eq!(end.neighbours.len(), MEMBERS_MAX);
    }
}
