// A store with something in it, a server, and a browser; all of it goes when the tests end.
import { execFileSync, spawn } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { chromium } from "playwright-core";

const program = resolve(process.env.BLD ?? "../target/release/bld");

export const home = mkdtempSync(join(tmpdir(), "bld-page-"));
const env = { ...process.env, BLD_ROOT: process.env.E2E_ROOT ?? join(home, "store"), HOME: home };

/** Runs bld to its end; what it printed. */
export function bld(...args) {
  return execFileSync(program, args, { env, cwd: home, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

/** Starts bld; a promise of its exit code. */
export function start(...args) {
  const child = spawn(program, args, { env, cwd: home, stdio: "ignore" });
  return { child, ended: new Promise((resolve) => child.on("exit", resolve)) };
}

/** Writes a file of a context; its directory. */
export function write(path, text) {
  const whole = join(home, path);
  mkdirSync(dirname(whole), { recursive: true });
  writeFileSync(whole, text);
  return dirname(whole);
}

/** The image `base`, of which all others are made. */
export function base() {
  const dir = write("base/Dockerfile", 'FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "--install", "-s", "/bin"]\n');
  copyFileSync("/bin/busybox", join(dir, "busybox"));
  bld("build", "-q", "-t", "base", dir);
}

const servers = [];

/** A server for the store, or another one; its address with the token. */
export async function serve(args = [], root = env.BLD_ROOT) {
  const child = spawn(program, ["ui", ...args], { env: { ...env, BLD_ROOT: root }, stdio: ["ignore", "pipe", "inherit"] });
  servers.push(child);
  return new Promise((resolve, reject) => {
    let told = "";
    child.stdout.on("data", (data) => {
      told += data;
      if (told.includes("\n")) resolve(new URL(told.trim()));
    });
    child.on("exit", (code) => reject(new Error(`bld ui ended with ${code}`)));
  });
}

/** Ends the server that was started last. */
export function stop() {
  const server = servers.pop();
  server.removeAllListeners("exit");
  const ended = new Promise((resolve) => server.on("exit", resolve));
  server.kill("SIGTERM");
  return ended;
}

/** Of the server: the memory that it has to itself, in bytes, and its threads but for those that wait for calls. */
export function weight(index = 0) {
  const status = readFileSync(`/proc/${servers[index].pid}/status`, "utf8");
  const tasks = `/proc/${servers[index].pid}/task`;
  const threads = readdirSync(tasks).filter((task) => !readFileSync(`${tasks}/${task}/comm`, "utf8").startsWith("tokio")).length;
  const number = (name) => Number(new RegExp(`${name}:\\s*(\\d+)`).exec(status)[1]);
  return { memory: number("RssAnon") * 1024, whole: number("VmRSS") * 1024, threads };
}

export const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-dev-shm-usage"],
});

/** A page of its own browser session that has opened the address; what goes wrong in it is kept. */
export async function open(url, options) {
  const page = await watched(await session(options), url);
  await page.goto(String(url));
  return page;
}

/** A browser session that knows nothing yet. */
export function session({ width = 1280, height = 800, dark = false, language = "en" } = {}) {
  return browser.newContext({
    viewport: { width, height },
    colorScheme: dark ? "dark" : "light",
    locale: language,
    reducedMotion: "reduce",
  });
}

/** The document of an address of the API, as the page gets it. */
export const ask = (page, path) => page.evaluate(async (path) => (await fetch(`/api/v1${path}`)).json(), path);

/** Another page of a browser session. */
export async function watched(context, url) {
  const page = await context.newPage();
  page.problems = [];
  page.on("pageerror", (error) => page.problems.push(String(error)));
  page.on("console", (message) => message.type() === "error" && page.problems.push(message.text()));
  page.on("dialog", (dialog) => {
    page.problems.push(`asked ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on("request", (request) => {
    const { host } = new URL(request.url());
    if (host && host !== url.host) page.problems.push(`asked ${request.url()}`);
  });
  return page;
}

/** Ends everything that was started. */
export async function end() {
  await browser.close();
  while (servers.length > 0) await stop();
  for (const name of bld("ps", "-aq").split("\n").filter(Boolean)) bld("rm", "-f", name);
  rmSync(home, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
}
