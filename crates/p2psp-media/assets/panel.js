// The live panel: what this peer says of itself, in plain words. All of it comes from the peer's events, which are its /stats once a
// second; what they do not say is called unknown, and old figures are called old. Uses the helpers of player.js.
"use strict";

// ---- The last minute --------------------------------------------------------------------------------------------------

// Counters count from the peer's start. Shares and losses of the present are what they gained in the last minute.
const SPAN_MS = 60000;
const NEWS_MS_MAX = 5000; // no event for so long: the figures are old
const AGAIN_MS = 5000; // a feed that was refused is asked for again

let samples = []; // the events of the last minute, oldest first
let lastNews = performance.now();

function remember(stats) {
  const newest = samples[samples.length - 1];
  // A peer that was started anew counts from zero.
  if (newest && stats.uptime_ms < newest.uptime_ms) samples = [];
  // The peer's figures are renewed once a second; two events may show the same.
  if (newest && stats.uptime_ms === newest.uptime_ms) samples.pop();
  samples.push(stats);
  while (samples.length > 2 && stats.uptime_ms - samples[0].uptime_ms > SPAN_MS) samples.shift();
}

const newest = () => samples[samples.length - 1];
const spanMs = () => newest().uptime_ms - samples[0].uptime_ms;
const spanWords = () => (spanMs() >= SPAN_MS - 2000 ? "the last minute" : `the last ${Math.round(spanMs() / 1000)} s`);

// What a counter gained; undefined where the peer has no such counter, or has said only once what it stands at.
function gain(key) {
  const [before, after] = [samples[0][key], newest()[key]];
  return spanMs() > 0 && Number.isFinite(before) && Number.isFinite(after) ? after - before : undefined;
}

// The delay that a share of the last minute's chunks did not exceed, in microseconds: from the gains of the peer's buckets.
function delayUs(share) {
  if (!(spanMs() > 0) || !newest().delay_buckets_us) return undefined;
  const before = new Map(samples[0].delay_buckets_us);
  const gained = newest().delay_buckets_us.map(([upper, count]) => [upper, count - (before.get(upper) || 0)]);
  let left = share * gained.reduce((sum, [, count]) => sum + count, 0);
  if (!(left > 0)) return undefined;
  for (const [upper, count] of gained) {
    left -= count;
    if (left <= 0) return upper;
  }
  return undefined;
}

// ---- In words ---------------------------------------------------------------------------------------------------------

const whole = new Intl.NumberFormat("en");
const percent = (ratio) => `${(100 * ratio).toFixed(ratio > 0 && ratio < 0.01 ? 2 : 1)}\u00a0%`;
const megabits = (bytes) => `${number.format((8 * bytes) / spanMs() / 1000)} Mb/s`;
const peers = (count) => `${count} ${count === 1 ? "peer" : "peers"}`;
const unknown = (detail) => ({ value: "unknown", detail, level: "unknown" });

// Where the peer stands, in a sentence, and whether that is good.
function standing(stats) {
  const { state, trouble, team_peers: team, teammates_linked: linked } = stats;
  if (state === "joining") return ["warn", trouble ? `No seat in a team: ${trouble}.` : "No team yet: looking for a seat."];
  if (state === "left") return ["bad", "Out of the team. What is left in the buffer still plays."];
  if (state !== "member") return ["unknown", "The peer does not say whether it is in a team."];
  if (team === 1) return ["warn", "Alone in the team: there is nobody but the splitter to get the stream from."];
  if (!linked) return ["warn", `In a team of ${peers(team)}, without a link to any of the others so far.`];
  const all = linked === team - 1 ? (linked === 1 ? "the other one" : `all ${linked} others`) : `${linked} of the ${team - 1} others`;
  return ["good", `In a team of ${peers(team)}, linked to ${all}.`];
}

function teamFigure(stats) {
  if (stats.state === "joining" || stats.state === "left") return { value: "none", detail: "no seat in a team" };
  if (!Number.isFinite(stats.team_peers)) return unknown("the peer does not say");
  return { value: peers(stats.team_peers), detail: "this one included" };
}

function shareFromPeers() {
  const [all, splitter] = [gain("received_bytes_total"), gain("splitter_bytes_total")];
  return all > 0 && splitter >= 0 ? (all - splitter) / all : undefined;
}

function shareFigure() {
  const share = shareFromPeers();
  if (share === undefined) return unknown("nothing has come since the page was opened");
  return { value: percent(share), detail: "of the bytes; the rest came from the splitter" };
}

function lossBefore() {
  const [due, missing] = [gain("due_chunks_total"), gain("missing_chunks_total")];
  if (!(due > 0)) return unknown("counted only in signed streams, once the whole team sends");
  const detail = `${whole.format(missing)} of ${whole.format(due)} chunks did not come by themselves`;
  return { value: percent(missing / due), detail, level: missing / due < 0.05 ? "good" : "warn" };
}

function lossAfter() {
  const [lost, played] = [gain("lost_chunks_total"), gain("played_chunks_total")];
  const due = lost + played;
  if (!(due > 0)) return unknown("nothing was due since the page was opened");
  const detail = `${whole.format(lost)} of ${whole.format(due)} chunks were missing when due`;
  return { value: percent(lost / due), detail, level: lost === 0 ? "good" : lost / due < 0.02 ? "warn" : "bad" };
}

function delayFigure() {
  const [half, most] = [delayUs(0.5), delayUs(0.99)];
  if (half === undefined) return unknown("no chunk has come in time since the page was opened");
  if (half === 0) return unknown("this machine's clock and the splitter's differ too much");
  return { value: seconds(half / 1000), detail: `from the splitter, by both clocks; at most ${seconds(most / 1000)} for 99\u00a0%` };
}

function bufferFigure(stats) {
  if (!Number.isFinite(stats.buffer_ms)) return unknown("the peer does not say");
  const detail = `${whole.format(stats.buffered_chunks || 0)} chunks are ahead of the play-out`;
  return { value: seconds(stats.buffer_ms), detail, level: stats.buffer_ms > 100 ? "good" : "warn" };
}

function rateFigure(key, nothing) {
  const bytes = gain(key);
  return bytes >= 0 ? { value: megabits(bytes), detail: bytes ? "" : nothing } : unknown("the page has just been opened");
}

const FIGURES = [
  ["team", "Team", teamFigure],
  ["share", "From other peers", shareFigure],
  ["loss-before", "Loss before repair", lossBefore],
  ["loss-after", "Loss after repair", lossAfter],
  ["delay", "Delay", delayFigure],
  ["buffer", "Buffer", bufferFigure],
  ["receiving", "Receiving", () => rateFigure("received_bytes_total", "nothing comes")],
  ["sending", "Passing on", () => rateFigure("sent_bytes_total", "nothing to anybody")],
];

// ---- On the page ------------------------------------------------------------------------------------------------------

// Readers of the page aloud are told this sentence whenever it changes, and nothing else: figures change every second.
function say(level, sentence) {
  const standing = $("standing");
  standing.dataset.level = level;
  if (standing.textContent !== sentence) standing.textContent = sentence;
}

function draw() {
  const stats = newest();
  say(...standing(stats));
  fill($("figures"), FIGURES.map(([name, label, figure]) => ({ name, label, ...figure(stats) })));
  const share = shareFromPeers();
  $("share").hidden = share === undefined;
  if (share !== undefined) $("share-bar").value = share;
  $("span").textContent = spanMs() > 0 ? `Shares, losses, delay and rates are of ${spanWords()}.` : "";
  const panel = $("panel");
  panel.dataset.old = "false";
  // What the figures were made of, for tests.
  panel.dataset.fromMs = samples[0].uptime_ms;
  panel.dataset.uptimeMs = stats.uptime_ms;
}

function onStats(event) {
  lastNews = performance.now();
  const stats = JSON.parse(event.data);
  remember(stats);
  draw();
  const { name, live_path: path } = stats.playout;
  if (name && $("name").textContent !== name) $("name").textContent = document.title = name;
  setAddress(path || "/live");
}

function checkNews() {
  if (performance.now() - lastNews < NEWS_MS_MAX) return;
  $("panel").dataset.old = "true";
  const figures = samples.length ? "The figures below are old." : "There are no figures.";
  say("bad", `The peer has not answered for some seconds. ${figures}`);
}

function listen() {
  const events = new EventSource("/events");
  events.onmessage = onStats;
  // A broken feed connects again by itself; one that was refused, as the peer does to too many pages, does not.
  events.onerror = () => events.readyState === EventSource.CLOSED && setTimeout(listen, AGAIN_MS);
}

listen();
setInterval(checkNews, 1000);
