// Opens a peer's player page in Chromium and watches it play.
//
//   node play.mjs URL [SECONDS] [SCREENSHOT]
//
// Prints one JSON object: currentTime (seconds played), advanced (seconds played during the watch), stalls, frames, dropped,
// width, height, errors (media errors, page errors, failed requests, refusals of the content policy), screenshot (path).
// Exit code: 0 if the picture advanced for at least half of the watch without a media error, 1 if not, 2 if the page or
// the browser could not be had. CHROMIUM names the browser, /usr/bin/chromium by default.
import { tmpdir } from "node:os";
import { join } from "node:path";
import { browse } from "./browse.mjs";

const [url, seconds = "10", screenshot = join(tmpdir(), `p2psp-player-${process.pid}.png`)] = process.argv.slice(2);
const watchMs = 1000 * Number(seconds);
if (!url || !(watchMs > 0)) {
  console.error("usage: node play.mjs URL [SECONDS] [SCREENSHOT]");
  process.exit(2);
}

const START_MS_MAX = 20000;

const code = await browse(async (page, errors) => {
  const opened = Date.now();
  await page.goto(url, { waitUntil: "domcontentloaded", timeout: START_MS_MAX });
  await page.evaluate(() => {
    const video = document.querySelector("video");
    window.seen = { stalls: 0, mediaErrors: [] };
    video.addEventListener("waiting", () => video.currentTime > 0 && (window.seen.stalls += 1));
    // Before the page's own listener, which connects anew and so forgets the error.
    const onError = () => window.seen.mediaErrors.push(`code ${video.error?.code} ${video.error?.message}`);
    video.addEventListener("error", onError, { capture: true });
  });
  await page.waitForFunction(() => document.querySelector("video").currentTime > 0, null, { timeout: START_MS_MAX }).catch(() => {
    errors.push(`media: no picture within ${START_MS_MAX} ms`);
  });
  const startMs = Date.now() - opened;
  const before = await page.evaluate(() => document.querySelector("video").currentTime);
  await page.waitForTimeout(watchMs);
  const result = await page.evaluate(() => {
    const video = document.querySelector("video");
    const quality = video.getVideoPlaybackQuality();
    const buffered = video.buffered;
    return {
      currentTime: video.currentTime,
      behind: buffered.length ? buffered.end(buffered.length - 1) - video.currentTime : null,
      stalls: window.seen.stalls,
      frames: quality.totalVideoFrames,
      dropped: quality.droppedVideoFrames,
      width: video.videoWidth,
      height: video.videoHeight,
      mediaErrors: window.seen.mediaErrors,
      badge: document.querySelector("#badge")?.textContent,
    };
  });
  await page.screenshot({ path: screenshot });
  const { mediaErrors, ...rest } = result;
  errors.push(...mediaErrors.map((message) => `media: ${message}`));
  const advanced = result.currentTime - before;
  console.log(JSON.stringify({ url, startMs, advanced, ...rest, errors, screenshot }, null, 2));
  return advanced >= watchMs / 2000 && !errors.some((error) => error.startsWith("media:")) ? 0 : 1;
});
process.exit(code);
