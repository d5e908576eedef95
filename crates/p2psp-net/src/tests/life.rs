//! How links and nodes begin and end.

use super::{attacker, *};
use crate::{BindError, CastError, DriverError, Gone};
use p2psp_core::{CloseCode, LinkDown};
use p2psp_wire::ALPN;

fn failed(input: Input) -> Option<(PeerId, bool)> {
    if let Input::DialFailed { peer, wrong_key } = input { Some((peer, wrong_key)) } else { None }
}

fn down(input: Input) -> Option<LinkDown> {
    if let Input::LinkDown { why, .. } = input { Some(why) } else { None }
}

/// Whoever answers with another key than the dialed one is not talked to, and the machine is told why.
#[tokio::test]
async fn a_wrong_key_is_refused() {
    let (mut dialer, mut acceptor) = (start(config()), start(config()));
    let expected = Identity::generate().peer_id();
    dialer.say(Output::Dial { peer: expected, addresses: vec![acceptor.addr] }).await;
    assert_eq!(dialer.expect("failure", failed).await, (expected, true));
    assert_eq!((dialer.stats().handshakes_wrong_key, dialer.stats().dials_failed), (1, 1));
    acceptor.until("the other side's view", |stats| stats.handshakes_wrong_key == 1).await;
    assert_eq!(acceptor.stats().handshakes_ok, 0);
    // Neither is the worse for it, and a right address behind a wrong one is found.
    let right = start(config());
    dialer.say(Output::Dial { peer: right.peer, addresses: vec![acceptor.addr, right.addr] }).await;
    assert_eq!(dialer.expect_up().await.1, right.peer);
    dialer.dial(&acceptor).await;
    assert_eq!(dialer.expect_up().await.1, acceptor.peer);
    assert_eq!(acceptor.expect_up().await.1, dialer.peer);
}

/// Another protocol version is told from a broken connection, on either side.
#[tokio::test]
async fn another_version_is_named() {
    let mut node = start(config());
    let other = Identity::generate();
    let listener = attacker::listen(&other, b"p2psp/2");
    let address = listener.local_addr().unwrap();
    node.say(Output::Dial { peer: other.peer_id(), addresses: vec![address] }).await;
    let accept = async { listener.accept().await.unwrap().await };
    let (accepted, failure) = tokio::join!(accept, node.expect("failure", failed));
    accepted.unwrap_err();
    assert_eq!(failure, (other.peer_id(), false));
    assert_eq!(node.stats().handshakes_wrong_version, 1);
    attacker::connect(&other, b"p2psp/2", node.addr, node.peer).await.unwrap_err();
    node.until("the accepting side's view", |stats| stats.handshakes_wrong_version == 2).await;
}

/// A dial to where nobody answers fails in time; one with a second, right address reaches it.
#[tokio::test]
async fn silent_addresses_fail_or_are_passed_over() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().map(|address| (silent, address)).unwrap();
    let mut impatient = config();
    impatient.handshake_timeout = Duration::from_millis(400);
    let (mut dialer, mut acceptor) = (start(impatient), start(config()));
    let nobody = Identity::generate().peer_id();
    dialer.say(Output::Dial { peer: nobody, addresses: vec![silent.1] }).await;
    assert_eq!(dialer.expect("failure", failed).await, (nobody, false));
    assert_eq!(dialer.stats().handshakes_timed_out, 1);
    dialer.say(Output::Dial { peer: acceptor.peer, addresses: vec![silent.1, acceptor.addr] }).await;
    assert_eq!(dialer.expect_up().await.1, acceptor.peer);
    acceptor.expect_up().await;
    // An IPv4 socket reaches no IPv6 address: known at once.
    dialer.say(Output::Dial { peer: nobody, addresses: vec!["[::1]:9".parse().unwrap()] }).await;
    assert_eq!(dialer.expect("failure", failed).await, (nobody, false));
}

/// A second dial while the first one runs makes no second link.
#[tokio::test]
async fn a_running_dial_is_not_doubled() {
    let (mut dialer, mut acceptor) = (start(config()), start(config()));
    let (peer, address) = (acceptor.peer, acceptor.addr);
    let twice = move |script: &mut Script, _| {
        script.say(Output::Dial { peer, addresses: vec![address] });
        script.say(Output::Dial { peer, addresses: vec![address] });
    };
    dialer.handle.call(twice).await.unwrap();
    let (link, _) = dialer.expect_up().await;
    acceptor.expect_up().await;
    dialer.say(Output::Control { link, message: ready(1) }).await;
    acceptor.expect("message", |input| matches!(input, Input::Control { .. }).then_some(())).await;
    assert_eq!((dialer.stats().dials, acceptor.stats().handshakes_ok), (1, 1));
}

/// Each reason to close a link reaches the other side as it was given; numbers that nobody defined are unknown.
#[tokio::test]
async fn close_codes_travel() {
    use CloseCode::{Done, Duplicate, OtherStream, Refused, Stranger, Timeout, Unknown, Violation};
    let (mut dialer, mut acceptor) = (start(config()), start(config()));
    for code in [Done, Duplicate, Refused, Stranger, OtherStream, Violation, Timeout, Unknown] {
        dialer.dial(&acceptor).await;
        let (link, _) = dialer.expect_up().await;
        acceptor.expect_up().await;
        dialer.say(Output::Hangup { link, code }).await;
        assert_eq!(acceptor.expect("end", down).await, LinkDown::Closed(code));
    }
    let (_endpoint, raw) =
        attacker::connect(&Identity::generate(), ALPN, acceptor.addr, acceptor.peer).await.unwrap();
    acceptor.expect_up().await;
    raw.close(77_u32.into(), b"because");
    assert_eq!(acceptor.expect("end", down).await, LinkDown::Closed(Unknown));
    // The side that hung up is told nothing.
    dialer.until("no links", |stats| stats.links == 0).await;
    assert!(dialer.seen.try_recv().is_err());
    assert_eq!((dialer.stats().links_lost, acceptor.stats().links_lost), (0, 9));
}

/// What was sent on the control stream before a hang-up arrives before the end of the link does; and the end does not wait for
/// a delayed acknowledgement, because the other side ends its stream on seeing ours end.
#[tokio::test]
async fn a_hangup_comes_after_what_was_said() {
    const ROUNDS: u32 = 8;
    let (mut dialer, mut acceptor) = (start(config()), start(config()));
    let mut closing = Duration::ZERO;
    for _ in 0..ROUNDS {
        dialer.dial(&acceptor).await;
        let (link, _) = dialer.expect_up().await;
        acceptor.expect_up().await;
        let farewell = move |script: &mut Script, _| {
            for number in 0..200 {
                script.say(Output::Control { link, message: ready(number) });
            }
            script.say(Output::Hangup { link, code: CloseCode::Done });
        };
        let began = tokio::time::Instant::now();
        dialer.handle.call(farewell).await.unwrap();
        for number in 0..200 {
            let find = |input| if let Input::Control { message, .. } = input { Some(message) } else { None };
            assert_eq!(acceptor.expect("message", find).await, ready(number));
        }
        assert_eq!(acceptor.expect("end", down).await, LinkDown::Closed(CloseCode::Done));
        closing += began.elapsed();
    }
    assert!(closing < ROUNDS * Duration::from_millis(250), "{closing:?} for {ROUNDS} ends");
}

/// A peer that vanishes without a word is noticed after the idle time.
#[tokio::test]
async fn a_vanished_peer_times_out() {
    let mut brisk = config();
    brisk.idle_timeout = Duration::from_millis(600);
    brisk.keep_alive = Duration::from_millis(200);
    let mut node = start(brisk);
    let (addr, peer) = (node.addr, node.peer);
    let vanish = move || {
        let elsewhere = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let identity = Identity::generate();
        let connected = elsewhere.block_on(attacker::connect(&identity, ALPN, addr, peer)).unwrap();
        // The runtime goes with its socket and its timers: nothing is sent any more, not even a farewell.
        elsewhere.shutdown_background();
        drop(connected);
    };
    let vanished = std::thread::spawn(vanish);
    node.expect_up().await;
    assert_eq!(node.expect("end", down).await, LinkDown::TimedOut);
    vanished.join().unwrap();
}

/// A port that another socket has is named, with what to do.
#[tokio::test]
async fn a_port_in_use_is_named() {
    let node = start(config());
    let mut second = config();
    second.bind = node.addr;
    let error = Node::bind(second).unwrap_err();
    assert!(matches!(error, BindError::InUse(address) if address == node.addr), "{error}");
    assert!(error.to_string().contains("in use") && error.to_string().contains("another port"), "{error}");
    let mut elsewhere = config();
    elsewhere.bind = "192.0.2.1:0".parse().unwrap();
    let error = Node::bind(elsewhere).unwrap_err();
    assert!(matches!(error, BindError::NotLocal(_)), "{error}");
}

/// Settings that cannot work are refused before anything is bound.
#[tokio::test]
async fn impossible_settings_are_refused() {
    let broken: [fn(&mut NodeConfig); 4] = [
        |config| config.idle_timeout = Duration::from_millis(1500),
        |config| config.keep_alive = Duration::ZERO,
        |config| config.uplink_bits_per_s = 0,
        |config| config.links_max = 0,
    ];
    for breaks in broken {
        let mut config = config();
        breaks(&mut config);
        assert!(matches!(Node::bind(config), Err(BindError::Config(_))));
    }
}

/// Shutdown delivers what was said, tells the other side, ends the driver and every task, and leaves the figures readable.
#[tokio::test]
async fn shutdown_drains_and_leaves_nothing_behind() {
    let tasks_before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let (dialer, link, mut acceptor, _) = pair().await;
    let last_words = move |script: &mut Script, _| {
        for number in 0..100 {
            script.say(Output::Control { link, message: ready(number) });
        }
        script.say(Output::Train { link, datagrams: train(0..4, 1128) });
    };
    dialer.handle.call(last_words).await.unwrap();
    let handle = dialer.handle.clone();
    let began = tokio::time::Instant::now();
    dialer.end().await;
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}: ran into the grace", began.elapsed());
    assert_eq!(handle.call(|_, _| ()).await, Err(Gone));
    assert_eq!(handle.try_cast(|_, _| ()), Err(CastError::Gone));
    handle.shutdown(Duration::ZERO).await;
    assert_eq!((handle.stats().control_out, handle.stats().chunks_out, handle.stats().links), (100, 4, 0));
    assert_eq!(handle.stats().sealed_packets_out, 4);
    let (mut messages, mut chunks) = (0, 0);
    let why = acceptor.expect("end", |input| match input {
        Input::LinkDown { why, .. } => Some(why),
        Input::Control { .. } => {
            messages += 1;
            None
        }
        Input::Train { datagrams: train, .. } => {
            chunks += train.len();
            None
        }
        _ => None,
    });
    assert_eq!(why.await, LinkDown::Closed(CloseCode::Done));
    assert_eq!((messages, chunks), (100, 4));
    acceptor.end().await;
    let metrics = tokio::runtime::Handle::current().metrics();
    within("all tasks to end", async {
        while metrics.num_alive_tasks() > tasks_before {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The last handle's drop ends the node; the driver's drop ends it at once.
#[tokio::test]
async fn a_node_ends_with_its_owner() {
    let (dialer, _, mut acceptor, _) = pair().await;
    let TestNode { handle, driver, .. } = dialer;
    drop(handle);
    within("end", driver).await.unwrap();
    assert_eq!(acceptor.expect("end", down).await, LinkDown::Closed(CloseCode::Done));
    let TestNode { handle, driver, .. } = acceptor;
    drop(driver);
    within("end", async { while handle.call(|_, _| ()).await.is_ok() {} }).await;
}

/// A machine that panics ends its node with an error, and nobody else.
#[tokio::test]
async fn a_panic_ends_the_node() {
    let (dialer, _, mut acceptor, _) = pair().await;
    let answer = dialer.handle.call(|_, _| panic!("on purpose")).await;
    assert_eq!(answer, Err::<(), _>(Gone));
    assert!(matches!(within("end", dialer.driver).await, Err(DriverError::Task(error)) if error.is_panic()));
    let other = start(config());
    other.dial(&acceptor).await;
    assert_eq!(acceptor.expect_up().await.1, other.peer);
}

/// The command queue has an end: `try_cast` refuses, nothing that was taken is lost.
#[tokio::test]
async fn commands_are_bounded() {
    let node = start(config());
    let (mut taken, mut refused) = (0, 0);
    // Without an await the driver gets no turn.
    for _ in 0..200 {
        match node.handle.try_cast(|script, _| script.say(Output::Event(Input::Tick))) {
            Ok(()) => taken += 1,
            Err(error) => {
                assert_eq!(error, CastError::Full);
                refused += 1;
            }
        }
    }
    assert_eq!((taken, refused), (crate::handle::COMMANDS_MAX, 200 - crate::handle::COMMANDS_MAX));
    node.handle.call(|_, _| ()).await.unwrap();
    let mut node = node;
    for _ in 0..taken {
        node.expect("tick", |input| matches!(input, Input::Tick).then_some(())).await;
    }
}
