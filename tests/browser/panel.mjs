// Reads a peer's live panel as a viewer sees it, beside what the peer says at /stats.
//
//   node panel.mjs URL [SECONDS] [SCREENSHOT]
//
// Prints one JSON object: readings (of the panel: fromMs and uptimeMs, the moments between which it counts; standing, old, share, and
// the values of its figures by name), stats (what /stats said, by uptime), errors (page errors, failed requests, refusals of the
// content policy), external (requests to anywhere else), narrow (how far the page is too wide for a telephone, in pixels), live (the
// elements that readers of the page aloud are told of).
// Exit code: 0, or 2 if the page or the browser could not be had.
import { browse } from "./browse.mjs";

const [url, seconds = "10", screenshot] = process.argv.slice(2);
if (!url || !(Number(seconds) > 0)) {
  console.error("usage: node panel.mjs URL [SECONDS] [SCREENSHOT]");
  process.exit(2);
}

// In the page: what the panel shows now, all of one moment.
function read() {
  const panel = document.querySelector("#panel");
  const figures = {};
  for (const tile of panel.querySelectorAll("#figures > div")) figures[tile.dataset.name] = tile.querySelector("dd").textContent;
  const share = panel.querySelector("#share");
  return {
    fromMs: Number(panel.dataset.fromMs),
    uptimeMs: Number(panel.dataset.uptimeMs),
    standing: panel.querySelector("#standing").textContent,
    old: panel.dataset.old === "true",
    share: share.hidden ? null : panel.querySelector("#share-bar").value,
    figures,
  };
}

const code = await browse(async (page, errors) => {
  const external = [];
  page.on("request", (request) => new URL(request.url()).origin === new URL(url).origin || external.push(request.url()));
  await page.goto(url, { waitUntil: "domcontentloaded" });
  const [readings, stats] = [[], {}];
  const until = Date.now() + 1000 * Number(seconds);
  while (Date.now() < until) {
    // The peer renews its figures once a second: none is missed.
    const now = await page.request.get(new URL("/stats", url).href).then((answer) => answer.json(), () => null);
    if (now) stats[now.uptime_ms] = now;
    readings.push(await page.evaluate(read));
    await page.waitForTimeout(200);
  }
  if (screenshot) await page.screenshot({ path: screenshot, fullPage: true });
  await page.setViewportSize({ width: 360, height: 780 });
  if (screenshot) await page.screenshot({ path: screenshot.replace(/\.png$/, "-phone.png"), fullPage: true });
  const narrow = await page.evaluate(() => Math.max(0, document.documentElement.scrollWidth - innerWidth));
  const live = await page.evaluate(() => [...document.querySelectorAll("[aria-live], [role=status]")].map((element) => element.id));
  console.log(JSON.stringify({ readings, stats, errors, external, narrow, live }));
  return 0;
});
process.exit(code);
