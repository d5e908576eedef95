//! What people see of a peer's teammates. Owns no state.

use super::Peer;
use p2psp_wire::{PeerId, Slot};
use std::net::SocketAddr;

/// A teammate at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TeammateView {
    /// Its seat.
    pub slot: Slot,
    /// Who it is.
    pub peer: PeerId,
    /// There is a link.
    pub linked: bool,
    /// The link takes no more at present.
    pub blocked: bool,
    /// Where it may be dialed, best first.
    pub candidates: Vec<SocketAddr>,
}

impl Peer {
    /// The teammates by ascending slot; none without a seat.
    #[must_use]
    pub fn teammates(&self) -> Vec<TeammateView> {
        let Some(seat) = &self.seat else { return Vec::new() };
        let team = &seat.team;
        let view = |slot| {
            let (peer, candidates) = team.holder(slot)?;
            Some(TeammateView {
                slot,
                peer,
                linked: team.link(slot).is_some(),
                blocked: team.blocked().contains(slot),
                candidates: candidates.to_vec(),
            })
        };
        team.slots().filter_map(view).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::lab::{Lab, key};
    use std::time::Duration;

    /// Members and splitter see the same team, also when an operator has put a member out of it.
    #[test]
    fn everyone_sees_the_same_team() {
        let mut lab = Lab::new(|_| {});
        for _ in 0..5 {
            lab.add_peer(|_| {});
        }
        lab.pass(Duration::from_millis(200));
        let check = |lab: &mut Lab, members: &[usize]| {
            let views = lab.splitter.member_views(lab.now);
            assert!(views.iter().all(|view| view.ready), "{views:?}");
            assert_eq!(views.len(), members.len());
            for node in members {
                let others: Vec<_> = views.iter().filter(|view| view.peer != key(*node)).collect();
                let seen = lab.peer(*node).teammates();
                assert!(seen.iter().all(|mate| mate.linked && !mate.blocked), "{seen:?}");
                let of_splitter = others.iter().map(|view| (view.slot, view.peer, view.candidates.clone()));
                let of_peer = seen.iter().map(|mate| (mate.slot, mate.peer, mate.candidates.clone()));
                assert!(of_splitter.eq(of_peer), "node {node}: {seen:?}");
            }
        };
        check(&mut lab, &[1, 2, 3, 4, 5]);
        let now = lab.now;
        lab.splitter.expel_peer(now, key(3), Duration::ZERO).unwrap();
        lab.pass(Duration::from_secs(1));
        check(&mut lab, &[1, 2, 4, 5]);
        assert!(
            lab.peer(3).teammates().is_empty() || lab.peer(3).teammates().iter().all(|mate| !mate.linked)
        );
    }
}
