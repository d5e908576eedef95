// The player page: keeps the live stream playing. What the peer tells of itself is the panel's business.
// Transport streams and FLV go through mpegts.js; everything else the browser plays by itself.
"use strict";

const $ = (id) => document.getElementById(id);
const video = $("video");

// ---- Playing ------------------------------------------------------------------------------------------------------

// How far behind the live edge to play. Chunks come in small bursts, so some hundred milliseconds keep clear of stalls.
const BEHIND_START_S = 0.5; // begin with that much
const BEHIND_LOW_S = 0.3; // below it, play a little slower, until there is enough again
const BEHIND_HIGH_S = 2.0; // above it, play a little faster, until the target
const BEHIND_TARGET_S = 1.0;
const BEHIND_JUMP_S = 6.0; // above it, seek
const SLOW_RATE = 0.95;
const FAST_RATE = 1.1;
const START_MS_MAX = 1500; // begin with less after so long
const RETRY_MS_MIN = 300;
const RETRY_MS_MAX = 5000;
const STALL_MS_MAX = 8000; // no progress for so long: connect anew
const SETTLED_MS = 10000; // played so long: the next retry is quick again

let mse = null; // the mpegts.js player, if one is needed
let holding = 0; // since when data is there and playing waits for more of it
let native = false; // the browser plays /live by itself
let retries = 0;
let retryTimer = 0;
let attempt = 0; // numbers connections, so that late answers of old ones are ignored
let lastTime = -1;
let lastProgress = performance.now();
let playingSince = 0;
let hasSound = false; // as far as is known yet
let wantsSound = false; // the viewer has turned the sound on once

function connect() {
  clearTimeout(retryTimer);
  disconnect();
  const own = ++attempt;
  lastProgress = performance.now();
  show("connecting", "Connecting to the peer…");
  // The peer holds the answer back for some seconds while the stream has not begun.
  fetch("/live", { method: "HEAD", cache: "no-store" }).then(
    (answer) => {
      if (own !== attempt) return;
      if (answer.status === 503) return retry("Waiting for the stream…");
      if (!answer.ok) return retry(`The peer answers ${answer.status}.`);
      open((answer.headers.get("content-type") || "").split(";")[0].trim(), own);
    },
    () => own === attempt && retry("The peer does not answer. Is it still running?"),
  );
}

function open(type, own) {
  const kind = { "video/mp2t": "mpegts", "video/x-flv": "flv" }[type];
  lastProgress = performance.now();
  hasSound = false;
  show("connecting", "Waiting for the picture…");
  if (!kind) {
    native = true;
    video.src = "/live";
  } else if (!window.mpegts || !mpegts.isSupported()) {
    return show("failed", "This browser cannot play the stream by itself. Open the address on this page in VLC or mpv.");
  } else {
    mse = mpegts.createPlayer(
      { type: kind, isLive: true, url: new URL("/live", location.href).href, cors: false },
      {
        enableWorker: false,
        enableStashBuffer: false,
        lazyLoad: false,
        autoCleanupSourceBuffer: true,
        autoCleanupMaxBackwardDuration: 30,
        autoCleanupMinBackwardDuration: 15,
        liveBufferLatencyChasing: true,
        liveBufferLatencyMaxLatency: BEHIND_JUMP_S,
        liveBufferLatencyMinRemain: BEHIND_TARGET_S,
      },
    );
    mse.on(mpegts.Events.ERROR, (kind, detail) => own === attempt && retry(`The stream broke off (${detail || kind}).`));
    mse.on(mpegts.Events.LOADING_COMPLETE, () => own === attempt && retry("The stream has ended."));
    mse.on(mpegts.Events.MEDIA_INFO, (info) => {
      if (own !== attempt) return;
      hasSound = info.hasAudio === true;
      updateSound();
    });
    mse.attachMediaElement(video);
    mse.load();
  }
  video.muted = !wantsSound;
  if (native) play();
}

function play() {
  const own = attempt;
  holding = 0;
  video.play().catch((error) => own === attempt && error.name === "NotAllowedError" && blocked());
}

function disconnect() {
  attempt += 1;
  if (mse) {
    mse.destroy();
    mse = null;
  }
  holding = 0;
  if (native) {
    native = false;
    video.removeAttribute("src");
    video.load();
  }
  video.playbackRate = 1;
  lastTime = -1;
  playingSince = 0;
}

function retry(reason) {
  if (playingSince && performance.now() - playingSince > SETTLED_MS) retries = 0;
  disconnect();
  const wait = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** retries) * (0.8 + 0.4 * Math.random());
  retries = Math.min(retries + 1, 8);
  show("connecting", reason);
  clearTimeout(retryTimer);
  retryTimer = setTimeout(connect, wait);
}

// The browser wants a click before it plays anything, even without sound.
function blocked() {
  show("paused", "");
  $("unmute-text").textContent = "Click to play";
  $("unmute").hidden = false;
}

function watch() {
  const now = performance.now();
  if (video.currentTime !== lastTime && !video.seeking) {
    if (lastTime >= 0 && !video.paused) {
      if (!playingSince) playingSince = now;
      show("live", "");
    }
    lastTime = video.currentTime;
    lastProgress = now;
  }
  if (mse && video.paused && !playingSince && behind() > 0) {
    holding = holding || now;
    if (behind() >= BEHIND_START_S || now - holding > START_MS_MAX) play();
  }
  if (mse || native) {
    if (video.paused && playingSince) {
      show("paused", "");
      lastProgress = now;
    } else if (now - lastProgress > STALL_MS_MAX) {
      retry("No picture for some seconds. Connecting anew…");
    } else if (playingSince && now - lastProgress > 1500) {
      show("connecting", "Waiting for the stream…");
    }
    steer();
  }
  if (native) hasSound = "mozHasAudio" in video ? video.mozHasAudio : video.webkitAudioDecodedByteCount !== 0;
  $("sound-only").hidden = !playingSince || video.videoWidth > 0;
  updateSound();
  updatePicture();
}

// Keeps the distance from the live edge by playing slightly slower or faster; nobody hears it.
function steer() {
  const distance = behind();
  const rate = video.playbackRate;
  if (distance > BEHIND_HIGH_S) video.playbackRate = FAST_RATE;
  else if (distance < BEHIND_LOW_S) video.playbackRate = SLOW_RATE;
  else if ((rate > 1 && distance < BEHIND_TARGET_S) || (rate < 1 && distance > BEHIND_START_S)) video.playbackRate = 1;
}

function behind() {
  const ranges = video.buffered;
  return ranges.length ? Math.max(0, ranges.end(ranges.length - 1) - video.currentTime) : 0;
}

video.addEventListener("error", () => (mse || native) && retry("The browser cannot decode the stream here."));
video.addEventListener("ended", () => (mse || native) && retry("The stream has ended."));
video.addEventListener("volumechange", () => {
  if (!video.muted) wantsSound = true;
  updateSound();
});
$("unmute").addEventListener("click", () => {
  wantsSound = true;
  video.muted = false;
  $("unmute-text").textContent = "Click for sound";
  video.play().catch(() => {});
  updateSound();
});

function show(state, text) {
  $("badge").dataset.state = state;
  $("badge").textContent = state;
  $("notice").hidden = !text;
  $("notice-text").textContent = text;
  $("spinner").hidden = state === "failed";
}

function updateSound() {
  if (video.paused) return;
  $("unmute").hidden = !(video.muted && hasSound && playingSince);
}

// ---- Figures of the picture ----------------------------------------------------------------------------------------

const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const seconds = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${number.format(ms / 1000)} s`);

// Keeps the elements and changes only their text, so that nothing flickers and a selection survives. A row has a label, a value and,
// where it needs words, a detail; a name and a level for the style sheet and for tests.
function fill(list, rows) {
  while (list.children.length > rows.length) list.lastChild.remove();
  rows.forEach(({ label, value, detail = "", name = "", level = "" }, index) => {
    let row = list.children[index];
    if (!row) {
      row = document.createElement("div");
      row.append(document.createElement("dt"), document.createElement("dd"), document.createElement("dd"));
      list.append(row);
    }
    [label, value, detail].forEach((text, place) => {
      if (row.children[place].textContent !== text) row.children[place].textContent = text;
    });
    row.lastChild.hidden = !detail;
    row.dataset.name = name;
    row.dataset.level = level;
  });
}

function updatePicture() {
  const rows = [];
  if (playingSince) {
    if (video.videoWidth) rows.push({ label: "Picture", value: `${video.videoWidth} × ${video.videoHeight}` });
    rows.push({ label: "Behind live edge", value: seconds(1000 * behind()) });
    const quality = video.getVideoPlaybackQuality ? video.getVideoPlaybackQuality() : null;
    if (quality && quality.totalVideoFrames) {
      rows.push({ label: "Frames dropped", value: `${quality.droppedVideoFrames} of ${quality.totalVideoFrames}` });
    }
  }
  fill($("picture"), rows);
}

function setAddress(path) {
  const address = new URL(path, location.href).href;
  if ($("address").textContent !== address) $("address").textContent = address;
}

$("copy").addEventListener("click", () => {
  const done = (text) => {
    $("copy").textContent = text;
    setTimeout(() => ($("copy").textContent = "Copy address"), 1500);
  };
  if (!navigator.clipboard) return getSelection().selectAllChildren($("address"));
  navigator.clipboard.writeText($("address").textContent).then(() => done("Copied"), () => done("Refused"));
});

setAddress("/live");
setInterval(watch, 100);
connect();
