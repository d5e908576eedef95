//! The live view on a real terminal, in tmux: a real team, keys pressed, what the screen shows read back, and the terminal afterwards.

use crate::tools::{artefact, run, run_to_any_end, tool};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use p2psp_tests::{
    cli,
    team::{JOIN, Peer, Splitter, Team},
};
use serde_json::Value;
use std::{
    fs,
    path::PathBuf,
    process::{Command, id},
    time::{Duration, Instant},
};

/// tmux answers at once; two busy cores make it seconds.
const PATIENCE: Duration = Duration::from_secs(20);
/// What the shell says after the view.
const AFTER: &str = "view-ended-with";

/// A terminal of its own, with a server of its own; dropping it ends both.
struct Tmux {
    socket: String,
    /// Where the view tells its process id.
    id_file: PathBuf,
}

impl Tmux {
    /// A terminal with a shell that runs `p2psp` with `arguments`, then tells the exit code and the terminal's settings, and
    /// waits.
    #[track_caller]
    fn start(name: &str, (width, height): (u16, u16), arguments: &[&str]) -> Self {
        let tmux =
            Self { socket: format!("p2psp-{name}-{}", id()), id_file: artefact(&format!("{name}.pid")) };
        let line = format!(
            "before=$(stty -g); sh -c 'echo $$ >{}; exec {} {}'; code=$?; \
             [ \"$before\" = \"$(stty -g)\" ] && same=same || same=changed; echo {AFTER} $code $same; exec cat",
            tmux.id_file.display(),
            cli::binary().display(),
            arguments.join(" ")
        );
        let size = [width.to_string(), height.to_string()];
        tmux.tell(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &size[0],
            "-y",
            &size[1],
            "sh",
            "-c",
            &line,
        ]);
        tmux
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = tool("tmux");
        command.args(["-L", &self.socket, "-u"]).args(arguments).env_remove("TMUX").env("LC_ALL", "C.UTF-8");
        cli::without_settings(&mut command);
        command
    }

    #[track_caller]
    fn tell(&self, arguments: &[&str]) -> String {
        run(&mut self.command(arguments), PATIENCE)
    }

    #[track_caller]
    fn press(&self, key: &str) {
        self.tell(&["send-keys", key]);
    }

    #[track_caller]
    fn screen(&self) -> String {
        self.tell(&["capture-pane", "-p"])
    }

    /// Waits until the screen fits.
    #[track_caller]
    fn shows(&self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if fits(&screen) {
                return screen;
            }
            assert!(Instant::now() < deadline, "no {what} after {PATIENCE:?}; the screen:\n{screen}");
        }
    }

    /// Waits for the end of the view, which must give the terminal back as it was.
    #[track_caller]
    fn ended(&self, code: i32) {
        let screen = self.shows("end of the view", |screen| screen.contains(AFTER));
        assert!(screen.contains(&format!("{AFTER} {code} same")), "{screen}");
        // The other screen is left: nothing of the view is on this one; the cursor is seen, and the mouse is the terminal's.
        assert!(!screen.contains("p2psp top"), "{screen}");
        let modes = self.tell(&["display-message", "-p", "#{alternate_on} #{cursor_flag} #{mouse_any_flag}"]);
        assert_eq!(modes.trim(), "0 1 0");
    }

    /// Sends the view a signal.
    #[track_caller]
    fn signal(&self, signal: Signal) {
        let id = fs::read_to_string(&self.id_file).unwrap();
        kill(Pid::from_raw(id.trim().parse().unwrap()), signal).unwrap();
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.command(&["kill-server"]).output().ok();
    }
}

fn admin(ready: &Value) -> String {
    ready["admin"][0].as_str().unwrap().to_owned()
}

fn key(peer: &Peer) -> String {
    peer.process.ready()["peer"].as_str().unwrap().to_owned()
}

fn team() -> Team {
    let splitter = Splitter::start(&["--input", "testcard", "--admin", "127.0.0.1:0"]);
    let inside = Peer::start("peer 1", &splitter.link, &["--admin", "127.0.0.1:0"]);
    let none: [&str; 0] = [];
    let mut peers = vec![inside];
    peers.extend((2..=3).map(|number| Peer::start(&format!("peer {number}"), &splitter.link, &none)));
    let team = Team { peers, splitter };
    team.wait_complete();
    team
}

/// The way that the help promises: the team, a peer, its neighbours; a member that is killed is gone; q leaves no trace.
#[test]
fn a_team_is_watched() {
    let mut team = team();
    let (splitter, inside) = (admin(&team.splitter.process.ready()), admin(&team.peers[0].process.ready()));
    let keys: Vec<String> = team.peers.iter().map(key).collect();
    let short = |peer: usize| keys[peer].get(..10).unwrap();
    let tmux = Tmux::start("team", (80, 24), &["top", "--admin", &splitter, "--peer", &inside]);
    let screen = tmux.shows("members", |screen| (0..3).all(|peer| screen.contains(short(peer))));
    assert!(screen.contains("Members: 3") && screen.contains("q quit"), "{screen}");
    tmux.shows("rate", |screen| screen.contains("bit/s"));

    // Only the one that is asked itself, too.
    tmux.press("/");
    short(0).chars().for_each(|c| tmux.press(&c.to_string()));
    tmux.press("Enter");
    tmux.shows("filtered members", |screen| screen.contains("Members: 1"));
    tmux.press("Enter");
    tmux.press("Escape");
    let screen = tmux.shows("neighbours", |screen| screen.contains("Neighbours: 2"));
    assert!(screen.contains(&keys[0]) && (1..3).all(|peer| screen.contains(short(peer))), "{screen}");
    tmux.shows("delay and play-out", |screen| {
        screen.contains("delay p99") && screen.contains("players 0") && screen.contains("rebuilt")
    });
    tmux.press("Enter");
    tmux.shows("neighbour", |screen| screen.contains("only from outside"));
    tmux.press("BSpace");
    tmux.press("Escape");
    tmux.shows("team again", |screen| screen.contains("Members: 3"));

    let began = Instant::now();
    team.peers[2].process.kill();
    tmux.shows("departure", |screen| {
        screen.contains(&format!("left by {}: crashed", short(2))) && screen.contains("Members: 2")
    });
    println!("a kill was on the screen after {:?}", began.elapsed());

    // Sizes change; too small a one says so.
    tmux.tell(&["resize-window", "-x", "40", "-y", "10"]);
    tmux.shows("smallest size", |screen| screen.contains("40x10"));
    tmux.tell(&["resize-window", "-x", "132", "-y", "40"]);
    tmux.shows("whole key", |screen| screen.contains(&keys[1]));

    tmux.press("q");
    tmux.ended(0);
}

/// A splitter that dies is told and not an end; once it is back, so is the view. Signals give the terminal back.
#[test]
fn a_lost_splitter_comes_back() {
    let mut splitter = Splitter::start(&["--input", "testcard", "--admin", "127.0.0.1:0"]);
    let address = admin(&splitter.process.ready());
    for (name, signal) in [("interrupt", Signal::SIGINT), ("terminate", Signal::SIGTERM)] {
        let tmux = Tmux::start(name, (80, 24), &["top", "--admin", &address]);
        tmux.shows("team", |screen| screen.contains("Members: 0"));
        splitter.process.kill();
        tmux.shows("word of the loss", |screen| screen.contains("disconnected, retrying"));
        splitter = Splitter::start(&["--input", "testcard", "--admin", &address]);
        tmux.shows("team again", |screen| screen.contains("Members: 0") && !screen.contains("disconnected"));
        tmux.signal(signal);
        tmux.ended(0);
    }
}

/// A splitter that hangs is told after the time that was given to answers, and keys work meanwhile.
#[test]
fn a_hanging_splitter_is_told() {
    let splitter = Splitter::start(&["--input", "testcard", "--admin", "127.0.0.1:0"]);
    let address = admin(&splitter.process.ready());
    let tmux = Tmux::start("hangs", (80, 24), &["top", "--admin", &address, "--timeout", "1s"]);
    tmux.shows("team", |screen| screen.contains("Members: 0"));
    splitter.process.signal(Signal::SIGSTOP);
    tmux.press("?");
    tmux.shows("help", |screen| screen.contains("Any key closes this"));
    tmux.press("x");
    tmux.shows("word of the silence", |screen| {
        screen.contains("disconnected, retrying: no answer within 1s")
    });
    splitter.process.signal(Signal::SIGCONT);
    tmux.shows("team again", |screen| screen.contains("Members: 0") && !screen.contains("disconnected"));
    tmux.press("C-c");
    tmux.ended(0);
}

/// What cannot be watched is told with the exit codes that the help names, on a terminal that stays as it was.
#[test]
fn refusals_are_told() {
    let tmux = Tmux::start("nobody", (80, 24), &["top", "--admin", "127.0.0.1:1"]);
    tmux.ended(3);
    assert!(tmux.screen().contains("cannot reach the admin address 127.0.0.1:1"), "{}", tmux.screen());
    let (code, said) = run_to_any_end(&mut cli::command(&["top"]), JOIN);
    assert!(code == Some(2) && said.contains("needs a terminal"), "{code:?}: {said}");
}
