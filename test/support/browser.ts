/**
 * A headless Chromium for tests of pages: the one that set-up found or unpacked,
 * with a profile of its own that is gone with it.
 *
 *   await using browser = await startBrowser();
 *   const page = await browser.open("http://127.0.0.1:8080/demo/");
 */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { type BrowserContext, chromium, type Page } from "playwright-core";
import { Scratch } from "./scratch.js";

/** This file runs as dist/test/support/browser.js. */
const script = fileURLToPath(new URL("../../../scripts/ensure-chromium.mjs", import.meta.url));

/** Nothing of it reaches beyond this machine. */
const flags = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const waitMsMax = 20_000;

export class Browser implements AsyncDisposable {
  /** What pages wrote as an error or threw, and requests that failed; a good page leaves it empty. */
  readonly troubles: string[] = [];

  private constructor(
    private readonly profile: Scratch,
    private readonly context: BrowserContext,
  ) {}

  /** Rejects with what to install when there is no Chromium. */
  static async start(): Promise<Browser> {
    const executablePath = await findChromium();
    const profile = await Scratch.create("chromium");
    const context = await chromium.launchPersistentContext(profile.folder, {
      executablePath,
      args: flags,
      viewport: { width: 1_100, height: 800 },
    });
    context.setDefaultTimeout(waitMsMax);
    return new Browser(profile, context);
  }

  /** A page that stands in the browser's one profile, with what earlier pages stored. */
  async open(url: string): Promise<Page> {
    const page = await this.context.newPage();
    page.on("console", (message) => {
      if (message.type() === "error") this.troubles.push(message.text());
    });
    page.on("pageerror", (error) => this.troubles.push(String(error)));
    page.on("response", (response) => {
      if (response.status() >= 400) this.troubles.push(`${response.status()} ${response.url()}`);
    });
    await page.goto(url);
    return page;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.context.close();
    await this.profile[Symbol.asyncDispose]();
  }
}

export function startBrowser(): Promise<Browser> {
  return Browser.start();
}

async function findChromium(): Promise<string> {
  try {
    const done = await promisify(execFile)(process.execPath, [script, "--find"]);
    return done.stdout.trim();
  } catch (error) {
    throw new Error((error as { stderr?: string }).stderr?.trim() ?? "no Chromium", {
      cause: error,
    });
  }
}
