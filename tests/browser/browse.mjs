// Opens a page in Chromium and keeps an account of what goes wrong in it. Owns how the browser is started; what is looked at is the
// caller's business. CHROMIUM names the browser, VIEWPORT the size of its window.
import { chromium } from "playwright-core";

const ARGUMENTS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--autoplay-policy=no-user-gesture-required",
];

// Runs `visit(page, errors)` on a fresh page and gives what it gives, or 2 where the page or the browser could not be had.
export async function browse(visit) {
  const errors = [];
  let browser;
  try {
    browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ARGUMENTS });
    const [width, height] = (process.env.VIEWPORT || "1280x760").split("x").map(Number);
    const page = await browser.newPage({ viewport: { width, height } });
    page.on("pageerror", (error) => errors.push(`page: ${error.message}`));
    page.on("console", (message) => message.type() === "error" && errors.push(`console: ${message.text()}`));
    page.on("requestfailed", (request) => {
      const reason = request.failure()?.errorText;
      // Aborted is what closing a live stream looks like.
      if (reason !== "net::ERR_ABORTED") errors.push(`request: ${request.url()}: ${reason}`);
    });
    return await visit(page, errors);
  } catch (error) {
    console.log(JSON.stringify({ errors: [...errors, `browser: ${error.message}`] }));
    return 2;
  } finally {
    await browser?.close();
  }
}
