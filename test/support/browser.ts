/**
 * A headless Chromium for tests of pages: the one that set-up found or unpacked,
 * with a profile of its own that is gone with it.
 *
 *   await using browser = await startBrowser();
 *   const page = await browser.open("http://127.0.0.1:8080/demo/");
 */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { type BrowserContext, chromium, type Page } from "playwright-core";
import { Scratch } from "./scratch.js";
import { until } from "./until.js";

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
/** Mere patience. */
const waitMsMax = 60_000;
const startMsMax = 120_000;

export class Browser implements AsyncDisposable {
  /** What pages wrote as an error or threw, and requests that failed; a good page leaves it empty. */
  readonly troubles: string[] = [];

  private constructor(
    private readonly profile: Scratch,
    readonly context: BrowserContext,
  ) {}

  /** Rejects with what to install when there is no Chromium. */
  static async start(): Promise<Browser> {
    const executablePath = await findChromium();
    const profile = await Scratch.create("chromium");
    const context = await chromium.launchPersistentContext(profile.folder, {
      executablePath,
      args: flags,
      viewport: { width: 1_100, height: 800 },
      timeout: startMsMax,
    });
    context.setDefaultTimeout(waitMsMax);
    return new Browser(profile, context);
  }

  /**
   * One whose pages are hidden when another is in front, and can be frozen, as a person's:
   * otherwise every page believes that it is looked at.
   */
  static async startAsUsed(): Promise<Browser> {
    const executablePath = await findChromium();
    const profile = await Scratch.create("chromium");
    const own = [
      "--headless=new",
      "--remote-debugging-port=0",
      `--user-data-dir=${profile.folder}`,
    ];
    profile.start(executablePath, [...own, ...flags, "about:blank"]);
    const readPort = async (): Promise<string | undefined> => {
      const text = await readFile(join(profile.folder, "DevToolsActivePort"), "utf8").catch(
        () => "",
      );
      return text.includes("\n") ? text.split("\n")[0] : undefined;
    };
    await until("Chromium listens", async () => (await readPort()) !== undefined);
    const browser = await chromium.connectOverCDP(`http://127.0.0.1:${await readPort()}`, {
      noDefaults: true,
      timeout: startMsMax,
    });
    const [context] = browser.contexts();
    if (context === undefined) throw new Error("Chromium has no context");
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
