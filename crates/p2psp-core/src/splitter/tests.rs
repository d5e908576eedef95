//! The splitter alone, spoken to by hand.

use super::{
    LINK_TIMEOUT, Splitter, SplitterConfig, SplitterEvent, SplitterStats, roster::BATCH,
    turns::TURNS_WAITING_MAX,
};
use crate::{CloseCode, Input, Instant, LinkDown, LinkId, Machine, Output, serve::PULL_BURST_MAX};
use bytes::Bytes;
use p2psp_wire::{
    ChannelId, ChunkNumber, Control, Epoch, Join, NumberRange, PROTOCOL_REVISION, PeerId, RefuseReason, Slot,
    limits::PAYLOAD_BYTES_MAX,
};
use std::time::Duration;

const CHANNEL: ChannelId = ChannelId::new([9; 32]);

struct Desk {
    splitter: Splitter,
    now: Instant,
}

impl Desk {
    fn new() -> Self {
        let now = Instant::from_micros(1_000_000);
        Self { splitter: Splitter::new(SplitterConfig::new(CHANNEL, Epoch(4), 0), now), now }
    }

    fn outputs(&mut self) -> Vec<Output<SplitterEvent>> {
        let next =
            || Some(self.splitter.poll_output(self.now)).filter(|output| !matches!(output, Output::Wait(_)));
        std::iter::from_fn(next).collect()
    }

    fn input(&mut self, input: Input) -> Vec<Output<SplitterEvent>> {
        self.splitter.handle_input(self.now, input);
        self.outputs()
    }

    fn link(&mut self, n: u32) -> LinkId {
        let link = LinkId(n);
        let mut peer = [1; 32];
        peer[..4].copy_from_slice(&n.to_be_bytes());
        let remote = ([10, 0, 0, 9], 4480).into();
        self.splitter
            .handle_input(self.now, Input::LinkUp { link, peer: PeerId::new(peer), remote, dialed: false });
        link
    }

    fn say(&mut self, link: LinkId, message: Control) -> Vec<Output<SplitterEvent>> {
        self.input(Input::Control { link, message })
    }

    /// Joined and ready, and the others may not know yet.
    fn newcomer(&mut self, n: u32) -> LinkId {
        let link = self.link(n);
        self.say(link, Control::Join(join()));
        self.say(link, Control::Ready { teammates: 0 });
        link
    }

    fn member(&mut self, n: u32) -> LinkId {
        let link = self.newcomer(n);
        self.tell();
        link
    }

    /// Lets the roster's batch go out.
    fn tell(&mut self) {
        self.now = self.now + BATCH;
        self.outputs();
    }

    fn ingest(&mut self, chunks: usize) -> Vec<Output<SplitterEvent>> {
        for _ in 0..chunks {
            self.splitter.ingest(self.now, Bytes::from_static(b"payload"), true, 0).unwrap();
        }
        self.outputs()
    }

    fn stats(&self) -> SplitterStats {
        self.splitter.stats()
    }
}

fn join() -> Join {
    Join {
        revision: PROTOCOL_REVISION,
        channel: CHANNEL,
        ticket: Bytes::new(),
        candidates: vec![],
        eco: false,
        agent: String::new(),
        target_delay_ms: 500,
    }
}

fn trains(outputs: &[Output<SplitterEvent>]) -> Vec<(LinkId, Vec<u64>)> {
    let train = |output: &Output<SplitterEvent>| {
        let Output::Train { link, datagrams } = output else { return None };
        Some((*link, datagrams.iter().map(|datagram| datagram.number().get()).collect()))
    };
    outputs.iter().filter_map(train).collect()
}

/// R-JOIN-4: another channel and another revision are refused with their reason, and the link is closed.
#[test]
fn refusals_name_their_reason() {
    let wrong_channel = Join { channel: ChannelId::new([8; 32]), ..join() };
    let newer = Join { revision: PROTOCOL_REVISION + 1, ..join() };
    for (join, expected) in [(wrong_channel, RefuseReason::WrongChannel), (newer, RefuseReason::Revision)] {
        let mut desk = Desk::new();
        let link = desk.link(1);
        let outputs = desk.say(link, Control::Join(join));
        let refused = outputs.iter().any(|output| {
            matches!(output, Output::Control { message: Control::Refuse(refuse), .. } if refuse.reason == expected)
        });
        assert!(refused, "{outputs:?}");
        assert!(matches!(outputs.last(), Some(Output::Hangup { code: CloseCode::Refused, .. })));
        assert_eq!((desk.stats().members, desk.stats().refusals), (0, 1));
    }
}

/// One identity that joins again and again, each time from a new link, gets every seat in turn and then those that have been
/// free for longest, however often: late chunks of a seat's last holder must not be taken for the next one's.
#[test]
fn a_rejoin_loop_goes_round_the_seats() {
    let mut desk = Desk::new();
    let seats = u32::from(Slot::SPLITTER.get());
    for n in 0..3 * seats {
        let (link, peer, remote) = (LinkId(n), PeerId::new([5; 32]), ([10, 0, 0, 9], 4480).into());
        desk.input(Input::LinkUp { link, peer, remote, dialed: false });
        let outputs = desk.say(link, Control::Join(join()));
        let slot = outputs.iter().find_map(|output| {
            let Output::Control { message: Control::Welcome(welcome), .. } = output else { return None };
            Some(welcome.slot.get())
        });
        assert_eq!(slot.map(u32::from), Some(n % seats), "join {n}");
        desk.now = desk.now + Duration::from_millis(1);
    }
    assert_eq!(desk.stats().members, 1);
    // Cooled down, the lowest seat is the first again.
    desk.now = desk.now + Duration::from_secs(10);
    desk.newcomer(9_000);
    assert_eq!(
        desk.splitter.roster().map(|(slot, _)| slot.get()).collect::<Vec<_>>(),
        [0, Slot::SPLITTER.get() - 1]
    );
}

/// A link that never says what it wants is closed in time, and others join meanwhile.
#[test]
fn a_silent_link_is_closed() {
    let mut desk = Desk::new();
    desk.link(1);
    desk.newcomer(2);
    desk.now = desk.now + LINK_TIMEOUT - Duration::from_millis(1);
    assert!(!desk.outputs().iter().any(|output| matches!(output, Output::Hangup { .. })));
    desk.now = desk.now + Duration::from_millis(1);
    let hung_up =
        |output: &Output<_>| matches!(output, Output::Hangup { link: LinkId(1), code: CloseCode::Timeout });
    assert!(desk.outputs().iter().any(hung_up));
    assert_eq!(desk.stats().members, 1);
}

/// Nobody gets turns before it is ready, nor ever as an eco member; without members chunks are numbered and kept.
#[test]
fn turns_go_to_ready_members_only() {
    let mut desk = Desk::new();
    assert_eq!(trains(&desk.ingest(2)), []);
    let joining = desk.link(1);
    desk.say(joining, Control::Join(join()));
    let eco = desk.link(2);
    desk.say(eco, Control::Join(Join { eco: true, ..join() }));
    desk.say(eco, Control::Ready { teammates: 1 });
    assert_eq!(trains(&desk.ingest(1)), []);
    assert_eq!(desk.stats().chunks_unsent, 3);
    desk.say(joining, Control::Ready { teammates: 1 });
    desk.tell();
    assert_eq!(trains(&desk.ingest(2)), [(joining, vec![3]), (joining, vec![4])]);
}

/// R-JOIN-3: the first member has nobody to wait for; a later one gets turns behind the roster delta that names it, for
/// its teammates would take its chunks for a stranger's before.
#[test]
fn turns_begin_behind_the_roster() {
    let mut desk = Desk::new();
    let first = desk.link(1);
    desk.say(first, Control::Join(join()));
    desk.say(first, Control::Ready { teammates: 0 });
    assert_eq!(trains(&desk.ingest(1)), [(first, vec![0])], "alone");
    let second = desk.link(2);
    desk.say(second, Control::Join(join()));
    desk.say(second, Control::Ready { teammates: 1 });
    desk.say(second, Control::Ready { teammates: 1 });
    assert_eq!(trains(&desk.ingest(2)), [(first, vec![1]), (first, vec![2])], "not told yet");
    desk.now = desk.now + BATCH;
    let outputs = desk.ingest(2);
    let told = outputs.iter().position(|output| {
        matches!(output, Output::Control { link, message: Control::RosterDelta(_) } if *link == first)
    });
    let train =
        outputs.iter().position(|output| matches!(output, Output::Train { link, .. } if *link == second));
    assert!(told.is_some() && train > told, "{outputs:?}");
    assert_eq!(desk.stats().members_ready, 2);
}

/// Who leaves before it was told of is not admitted afterwards.
#[test]
fn a_member_gone_before_the_roster_gets_no_turns() {
    let mut desk = Desk::new();
    let first = desk.member(1);
    let second = desk.link(2);
    desk.say(second, Control::Join(join()));
    desk.say(second, Control::Ready { teammates: 1 });
    desk.input(Input::LinkDown { link: second, why: LinkDown::Transport });
    desk.tell();
    assert_eq!(desk.stats().members_ready, 1);
    assert_eq!(trains(&desk.ingest(2)), [(first, vec![0]), (first, vec![1])]);
}

/// A spent uplink holds turns back; when it stays spent the oldest are dropped and counted, and what goes out then is fresh.
#[test]
fn a_spent_uplink_drops_the_oldest() {
    let mut desk = Desk::new();
    let link = desk.member(1);
    desk.input(Input::UplinkBlocked);
    assert_eq!(trains(&desk.ingest(TURNS_WAITING_MAX + 3)), []);
    assert_eq!(desk.stats().chunks_overflowed, 3);
    let sent = trains(&desk.input(Input::UplinkReady));
    assert_eq!((sent.first(), sent.len()), (Some(&(link, vec![3])), TURNS_WAITING_MAX));
}

/// A member whose link is full is passed over.
#[test]
fn a_blocked_member_is_passed_over() {
    let mut desk = Desk::new();
    let (one, two) = (desk.member(1), desk.member(2));
    desk.input(Input::LinkBlocked { link: one });
    assert!(trains(&desk.ingest(4)).iter().all(|(link, _)| *link == two));
    desk.input(Input::LinkReady { link: one });
    assert_eq!(trains(&desk.ingest(2)).iter().filter(|(link, _)| *link == one).count(), 1);
}

/// R-PULL-2, R-PULL-3: what is held is served in trains to who asked; what is not, or is over the budget, is choked.
#[test]
fn pulls_are_served_within_the_budget() {
    let mut desk = Desk::new();
    let link = desk.member(1);
    desk.ingest(20);
    let range = |first: u64, last: u64| {
        NumberRange::new(ChunkNumber::new(first).unwrap(), ChunkNumber::new(last).unwrap()).unwrap()
    };
    let outputs = desk.say(link, Control::Pull { ranges: vec![range(10, 29)], generations: vec![] });
    assert_eq!(trains(&outputs), [(link, (10..20).collect::<Vec<_>>())]);
    let choked = outputs.iter().any(|output| {
        matches!(output, Output::Control { message: Control::Choke { ranges, .. }, .. } if *ranges == [range(20, 29)])
    });
    assert!(choked, "{outputs:?}");
    for _ in 0..u64::from(PULL_BURST_MAX) / 20 + 2 {
        desk.say(link, Control::Pull { ranges: vec![range(0, 19)], generations: vec![] });
    }
    assert_eq!(desk.stats().chunks_served, u64::from(PULL_BURST_MAX));
    desk.now = desk.now + Duration::from_secs(1);
    desk.say(link, Control::Pull { ranges: vec![range(0, 19)], generations: vec![] });
    assert_eq!(desk.stats().chunks_served, u64::from(PULL_BURST_MAX) + 20);
}

/// R-ROSTER-1, R-ROSTER-2: changes of 50 ms are one view, in which the departure of a seat comes before its next holder.
#[test]
fn roster_changes_are_batched() {
    let mut desk = Desk::new();
    let one = desk.member(1);
    desk.now = desk.now + Duration::from_millis(100);
    desk.outputs();
    let delta = |output: Output<SplitterEvent>| {
        let Output::Control { link, message: Control::RosterDelta(delta) } = output else { return None };
        (link == one).then_some(delta)
    };
    let deltas =
        |outputs: Vec<Output<SplitterEvent>>| outputs.into_iter().filter_map(delta).collect::<Vec<_>>();
    let alone = desk.link(9);
    let told = deltas(desk.say(alone, Control::Join(join())));
    assert_eq!(
        told.iter().map(|delta| delta.joined.len()).sum::<usize>(),
        1,
        "a lone newcomer is told at once"
    );
    let two = desk.newcomer(2);
    desk.newcomer(3);
    desk.input(Input::LinkDown { link: two, why: LinkDown::TimedOut });
    desk.now = desk.now + Duration::from_millis(49);
    assert_eq!(deltas(desk.outputs()), []);
    desk.now = desk.now + Duration::from_millis(1);
    let told = deltas(desk.outputs());
    assert!(told.iter().all(|delta| delta.view == 3 && delta.epoch == Epoch(4)), "{told:?}");
    let left: Vec<Slot> = told.iter().flat_map(|delta| delta.left.iter().map(|left| left.slot)).collect();
    let joined: Vec<Slot> =
        told.iter().flat_map(|delta| delta.joined.iter().map(|member| member.slot)).collect();
    assert_eq!((left, joined), (vec![Slot::new(2).unwrap()], vec![Slot::new(3).unwrap()]));
}

/// R-CRASH-2: one member's word takes nobody's turns in a team of more than three; a quarter of the team's does, for a while.
#[test]
fn silence_needs_a_quorum() {
    let mut desk = Desk::new();
    let links: Vec<LinkId> = (1..=8).map(|n| desk.member(n)).collect();
    let silent = Control::Silent { origins: vec![Slot::new(7).unwrap(), Slot::FIRST] };
    // Nobody has had turns yet that could be missed; later on, nobody who is not ready has a word.
    for link in links.clone() {
        desk.say(link, silent.clone());
    }
    desk.ingest(32);
    for n in 9..=11 {
        let link = desk.link(n);
        desk.say(link, Control::Join(join()));
        desk.say(link, silent.clone());
    }
    // Nobody can denounce itself into a quorum, or be counted twice.
    for link in [links[0], links[0], links[7]] {
        desk.say(link, silent.clone());
    }
    assert_eq!(desk.stats().silenced, 0);
    desk.say(links[1], silent);
    assert_eq!(desk.stats().silenced, 2);
    assert!(trains(&desk.ingest(16)).iter().all(|(link, _)| *link != links[7] && *link != links[0]));
    desk.now = desk.now + Duration::from_secs(11);
    assert_eq!(trains(&desk.ingest(16)).iter().filter(|(link, _)| *link == links[7]).count(), 2);
}

/// Reports that lie far apart do not add up.
#[test]
fn old_doubts_fade() {
    let mut desk = Desk::new();
    let links: Vec<LinkId> = (1..=8).map(|n| desk.member(n)).collect();
    let silent = Control::Silent { origins: vec![Slot::new(7).unwrap()] };
    desk.ingest(32);
    desk.say(links[0], silent.clone());
    desk.now = desk.now + Duration::from_secs(3);
    desk.say(links[1], silent);
    assert_eq!(desk.stats().silenced, 0);
}

/// The limits of a payload: the largest passes, one byte more does not, nor does none.
#[test]
fn payloads_have_limits() {
    let mut desk = Desk::new();
    let now = desk.now;
    let mut ingest = |bytes: usize| desk.splitter.ingest(now, Bytes::from(vec![0; bytes]), false, 0);
    assert!(ingest(PAYLOAD_BYTES_MAX).is_ok());
    assert_eq!(
        ingest(PAYLOAD_BYTES_MAX + 1),
        Err(super::IngestError::TooLong { bytes: PAYLOAD_BYTES_MAX + 1, bytes_max: PAYLOAD_BYTES_MAX })
    );
    assert_eq!(ingest(0), Err(super::IngestError::Empty));
}

/// A splitter that closes refuses joiners with a time to come back, and does not wait for ever for members that stay.
#[test]
fn closing_is_bounded() {
    let mut desk = Desk::new();
    desk.member(1);
    let now = desk.now;
    desk.splitter.close(now);
    desk.outputs();
    let late = desk.link(2);
    let outputs = desk.say(late, Control::Join(join()));
    assert!(outputs.iter().any(|output| {
        matches!(output, Output::Control { message: Control::Refuse(r), .. } if r.reason == RefuseReason::Closing && r.retry_after_ms > 0)
    }));
    desk.now = desk.now + LINK_TIMEOUT;
    assert!(desk.outputs().iter().any(|output| matches!(output, Output::Event(SplitterEvent::Closed))));
}
