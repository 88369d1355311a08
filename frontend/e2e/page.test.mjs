// The page, as people use it, against a real bld.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { ask, base, bld, end, home, open, serve, start, stop, write } from "./stage.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
/** With SHOTS=DIRECTORY, pictures of each view are put there. */
const shots = process.env.SHOTS;

const DOCKERFILE = `FROM base AS deps
RUN echo fetching && sleep 6 && head -c 900000 /dev/urandom > /deps
RUN for i in 1 2 3 4 5 6; do printf '\\033[32mok\\033[0m module %s\\n' $i; sleep 0.1; done
FROM base AS docs
RUN sleep 0.6 && mkdir /docs && echo text > /docs/index.html
FROM base
COPY main.sh /app/
COPY etc /etc
COPY --from=deps /deps /app/deps
COPY --from=docs /docs /app/docs
RUN rm /app/deps
`;
const HOSTILE = "<img src=x onerror=alert(1)>";

let url;
let page;
let refs;
let said;

const api = (path) => ask(page, path);
const go = (path) => page.goto(url.origin + path);

/** Finds what shuts people out of what is shown. */
async function accessible(page, name) {
  // The policy forbids scripts of others, also ours: it comes in by the debugger.
  await page.evaluate(axe);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  const serious = found.violations.filter((one) => ["serious", "critical"].includes(one.impact));
  const told = serious.map((one) => `${one.id}: ${one.nodes.map((node) => `${node.html} ${node.failureSummary}`).join("\n")}`);
  assert.deepEqual(told, [], name);
}

before(async () => {
  base();
  write("app/etc/motd", "hello\n");
  write(`app/etc/${HOSTILE.replace("/", "")}`, "odd\n");
  write("app/main.sh", "echo hi\n");
  write("app/Dockerfile", DOCKERFILE);
  bld("volume", "create", "data");
  bld("run", "-d", "--name", "web", "-v", "data:/data", "--network", "none", "base", "sh", "-c", "while :; do echo tick; sleep 0.2; done");
  url = await serve();
  page = await open(url);
});

after(end);

test("a build is watched from its start to its end", { timeout: 60_000 }, async () => {
  await page.waitForSelector("a.row");
  const build = start("build", "-t", "app:1", `${home}/app`);
  await page.waitForSelector("tr:has-text('app') .is-running");
  await page.waitForSelector(`tr:has-text('bld build -t app:1 ${home}/app')`);
  assert.deepEqual(page.problems, []);
  await page.click("a.row >> nth=0");
  await page.waitForSelector(".node[data-state=running]");
  await page.waitForSelector(".node[data-state=done]");
  // Nothing jumps: what is drawn stays in its place.
  const places = () => page.$$eval(".node", (nodes) => nodes.map((node) => `${node.dataset.step} ${node.style.left} ${node.style.top}`));
  const early = await places();
  await page.click(".node:has-text('module')");
  await page.waitForSelector(".line:has-text('ok module 1')");
  assert.equal(await build.ended, 0);
  await page.waitForSelector("h1 + .line-of-facts .is-completed");
  await page.waitForSelector(".line:has-text('ok module 6')");
  const late = await places();
  assert.deepEqual(late.slice(0, early.length), early);
  assert.equal(await page.$eval(".line .ansi-green", (span) => span.textContent), "ok");

  // States and times are those of the event log.
  const ref = new URL(page.url()).pathname.split("/")[2];
  const events = await page.evaluate(
    (ref) =>
      new Promise((resolve) => {
        const all = [];
        const source = new EventSource(`/api/v1/builds/${ref}/events`);
        source.addEventListener("event", ({ data }) => all.push(JSON.parse(data)));
        source.addEventListener("end", () => {
          source.close();
          resolve(all);
        });
      }),
    ref,
  );
  const expected = new Map();
  for (const { id, kind } of events) {
    if (kind.planned && !kind.planned.internal) expected.set(id, "waiting");
    if (!expected.has(id)) continue;
    if (kind === "done" || kind === "canceled") expected.set(id, kind);
    if (kind.cached) expected.set(id, "cached");
    if (kind.failed) expected.set(id, "failed");
  }
  const shown = await page.$$eval(".node", (nodes) => nodes.map((node) => [Number(node.dataset.step), node.dataset.state]));
  assert.deepEqual(new Map(shown), expected);
  assert.equal(await page.textContent(".asked code"), `$ bld build -t app:1 ${home}/app`);
  await page.click("[data-tab=timeline]");
  const begun = events[0].at;
  const ended = Math.max(...events.map((event) => event.at));
  for (const [id] of expected) {
    const from = events.find((event) => event.id === id && event.kind === "started");
    if (!from) continue;
    const left = await page.$eval(`[data-bar="${id}"] .bar`, (bar) => Number.parseFloat(bar.style.left));
    const share = ((from.at - begun) / (ended - begun)) * 100;
    assert.ok(Math.abs(left - Math.min(share, 99.5)) < 0.5, `step ${id}: ${left} for ${share}`);
    const to = events.findLast((event) => event.id === id && event.kind !== "started");
    const width = await page.$eval(`[data-bar="${id}"] .bar`, (bar) => Number.parseFloat(bar.style.width));
    const length = ((to.at - from.at) / (ended - begun)) * 100;
    assert.ok(Math.abs(width - Math.max(length, 0.4)) < 0.5, `step ${id}: ${width} for ${length}`);
  }
});

test("what was attested about a result is read, and what is in an image", { timeout: 60_000 }, async () => {
  write("said/Dockerfile", "FROM base\nCOPY package-lock.json /app/\n");
  const packages = { "": { name: "app" }, "node_modules/left-pad": { version: "1.3.0" } };
  write("said/package-lock.json", JSON.stringify({ lockfileVersion: 3, packages }));
  const secret = "hunter2";
  const outputs = ["-o", `type=local,dest=${home}/out`, "-o", "type=image,name=said"];
  bld("build", "-q", ...outputs, "--provenance=true", "--sbom=true", "--build-arg", `TOKEN=${secret}`, `${home}/said`);
  await go("/builds");
  await page.click("a.row:has-text('said')");
  await page.click("[data-tab=results]");
  await page.waitForSelector(`.attestation:has-text('https://slsa.dev/provenance/'):has-text('${home}/out')`);
  await page.waitForSelector(".attestation:has-text('https://spdx.dev/Document')");
  said = new URL(page.url()).pathname;
  await page.click(".attestation summary");
  await page.waitForSelector("pre:has-text('buildDefinition')");
  assert.match(await page.textContent(".asked code"), /--build-arg 'TOKEN=\*\*\*'/);
  assert.ok(!(await page.content()).includes(secret));
  await page.click("a:has-text('The packages in the image')");
  await page.waitForSelector("tr:has-text('left-pad'):has-text('1.3.0'):has-text('/app/package-lock.json')");
});

test("the error of a failed build is found in three clicks", { timeout: 60_000 }, async () => {
  write("broken/Dockerfile", `FROM base\nRUN echo one\nRUN echo '${HOSTILE}' && echo 'main.c:3: error' >&2 && exit 2\nRUN echo never\n`);
  assert.equal(await start("build", `${home}/broken`).ended, 1);
  await go("/builds");
  await page.click("a.row:has-text('broken')");
  await page.waitForSelector(".line:has-text('main.c:3: error')");
  assert.equal(await page.textContent(".line >> nth=0"), `1${HOSTILE}`);
  assert.equal(await page.$("img[src=x]"), null);
  assert.match(await page.textContent(".node.is-failed"), /failed/);
  await accessible(page, "failure");
});

test("why a step ran is read", { timeout: 60_000 }, async () => {
  write("app/etc/motd", "hello again\n");
  bld("build", "-q", "-t", "app:2", `${home}/app`);
  await go("/builds");
  refs = (await api("/builds")).filter((build) => build.name === "app").map((build) => build.ref);
  await page.click(`a.row[href="/builds/${refs[0]}"]`);
  await page.click(".node:has-text('COPY etc /etc')");
  await page.waitForSelector(".why:has-text('etc/motd changed (bytes)')");
  await page.click(".node:has-text('module')");
  await page.waitForSelector(".why:has-text('unchanged')");
  await page.click("[data-tab=source]");
  await page.click(".source button:has-text('COPY etc /etc')");
  await page.waitForSelector(".chosen-line:has-text('COPY etc /etc')");
  await go("/builds");
  for (const ref of refs) await page.check(`tr:has(a[href="/builds/${ref}"]) input`);
  await page.click("button:has-text('Compare')");
  await page.waitForSelector("tr:has-text('COPY etc /etc'):has-text('etc/motd changed (bytes)')");
});

test("two images are compared, and their layers are looked into", { timeout: 60_000 }, async () => {
  await go("/images");
  for (const tag of ["app:1", "app:2"]) await page.check(`tr:has-text('${tag}') input`);
  await page.click("button:has-text('Compare')");
  await page.click(".entry:has-text('/etc/motd')");
  await page.waitForSelector(".plus:has-text('hello')");
  await page.waitForSelector(".minus:has-text('hello')");
  await go("/images/app%3A2");
  await page.waitForSelector(".layers button:has-text('Hidden later 900 kB')");
  await page.click(".layers button:has-text('COPY etc /etc')");
  await page.click("button.entry:has-text('etc/')");
  await page.waitForSelector(`.entry .name:text-is(${JSON.stringify(HOSTILE)})`);
  assert.equal(await page.$("img[src=x]"), null);
});

test("what others wrote is text, wherever it is shown", { timeout: 60_000 }, async () => {
  const odd = `"'</pre></title><script>pwned=1</script>${HOSTILE}`;
  const label = ["--label", `note=${odd}`];
  bld("volume", "create", ...label, "odd");
  bld("network", "create", ...label, "odd");
  // A build is called by its directory, a container may be called by nothing but letters.
  const dir = write(`${HOSTILE.replaceAll("/", "")}/Dockerfile`, `FROM base\nLABEL note=${JSON.stringify(odd)}\nENV NOTE=${JSON.stringify(odd)}\n`);
  bld("build", "-q", "-t", "odd", dir);
  assert.throws(() => bld("create", "--name", HOSTILE, "odd", "sh"), /invalid container name/);
  const escapes = "\\033]0;owned\\007\\033[2J\\033[5;5H\\033[31mred\\033[0m\\033]8;;javascript:pwned=2\\033\\\\link\\033P1$r\\033\\\\\\b\\007.";
  const script = `printf '%s\\n' "$NOTE"; printf '${escapes}\\n'; exec sleep 1000`;
  bld("run", "-d", "--name", "odd", ...label, "--network", "none", "-v", "odd:/odd", "odd", "sh", "-c", script, odd);

  const harmless = async (path, ready, ...texts) => {
    await go(path);
    await page.waitForSelector(ready);
    const shown = await page.textContent("main");
    for (const text of texts) assert.ok(shown.includes(text), `${text} at ${path}: ${shown}`);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be there
    assert.doesNotMatch(shown, /[\x00-\x08\x0b-\x1f\x7f]/, path);
    const found = await page.evaluate(() => [
      document.querySelectorAll("img:not([src='/icon.svg']), main script, [onerror], a[href^='javascript']").length,
      window.pwned,
      document.title.includes("owned"),
    ]);
    assert.deepEqual(found, [0, undefined, false], path);
  };
  await harmless("/containers/odd", ".line >> nth=1", `1${odd}`, "2redlink.");
  assert.equal(await page.textContent(".line .ansi-red"), "red");
  await page.fill(".log [data-search]", "<IMG");
  await page.waitForSelector(".line mark:text-is('<img')");
  const json = JSON.stringify(odd);
  await harmless("/containers/odd?tab=config", ".document", `"note": ${json}`, `NOTE=${json.slice(1)}`, odd);
  await harmless("/containers", "a.row", odd);
  await harmless("/images/odd?tab=config", ".document", `"note": ${json}`);
  await harmless("/images/odd?tab=history", "tbody tr", "pwned=1");
  await harmless("/volumes", "tbody tr", `note=${odd}`);
  await harmless("/networks", "tbody tr", `note=${odd}`);
  await harmless("/builds?filter=onerror", "a.row", HOSTILE.replaceAll("/", ""));
  await page.click("a.row");
  await harmless(new URL(page.url()).pathname, ".node", "pwned=1");
  await harmless("/diff?from=base&to=odd", "tbody tr", odd);
  await harmless("/disk", ".treemap", "COPY busybox");
  assert.deepEqual(page.problems, []);
  bld("rm", "-f", "odd");
  bld("network", "rm", "odd");
  bld("volume", "rm", "odd");
  bld("rmi", "odd");
});

test("a shell is typed into, and a container is stopped and started", { timeout: 60_000 }, async () => {
  await go("/containers/web");
  await page.waitForSelector(".line:has-text('tick')");
  await page.click("[data-tab=use]");
  await page.waitForSelector(".chart strong:has-text('%')");
  await page.click("[data-tab=terminal]");
  await page.waitForSelector(".xterm-rows:has-text('#')");
  await page.keyboard.type("echo $((6*7))\r");
  await page.waitForSelector(".xterm-rows:has-text('42')");
  await page.keyboard.type("exit 3\r");
  await page.waitForSelector("[role=status]:has-text('ended with 3')");
  await page.click("button:has-text('Kill')");
  await page.waitForSelector("h1 + .line-of-facts .is-exited");
  await page.click("button:has-text('Start')");
  await page.waitForSelector("h1 + .line-of-facts .is-running");
});

test("a prune is previewed and done", { timeout: 60_000 }, async () => {
  write("gone/Dockerfile", "FROM base\nRUN head -c 3000000 /dev/urandom > /big\n");
  bld("build", "-q", "-t", "gone", `${home}/gone`);
  bld("rmi", "gone");
  await go("/disk");
  await page.waitForSelector(".treemap rect");
  await page.click("button:has-text('Free space')");
  await page.waitForSelector("dialog td:has-text('RUN head')");
  // What was used a moment ago is not what was not used for a day, nor more than a gigabyte.
  await page.selectOption("[name=age]", "86400");
  await page.waitForSelector("dialog p:has-text('There is nothing to free')");
  await page.selectOption("[name=age]", "0");
  await page.waitForSelector("dialog td:has-text('RUN head')");
  await page.selectOption("[name=keep]", "1000000000");
  await page.waitForSelector("dialog p:has-text('There is nothing to free')");
  await page.selectOption("[name=keep]", "0");
  await page.waitForSelector("dialog td:has-text('RUN head')");
  await accessible(page, "prune");
  const { total } = await api("/disk/plan");
  assert.ok(total > 3_000_000);
  await page.click("dialog button.danger");
  await page.waitForSelector("[role=status]:has-text('freed')");
  assert.equal((await api("/disk/plan")).total, 0);
});

test("the keyboard is enough", { timeout: 60_000 }, async () => {
  await go("/images");
  await page.waitForSelector("a.row");
  await page.keyboard.press("g");
  await page.keyboard.press("b");
  await page.waitForSelector(`a.row[href="/builds/${refs[0]}"]`);
  const rows = await page.$$eval("a.row", (all) => all.map((row) => row.getAttribute("href")));
  for (let count = 0; count <= rows.indexOf(`/builds/${refs[0]}`); count++) await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  await page.waitForSelector(".node");
  await page.keyboard.press("]");
  await page.waitForSelector(".timeline");
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  await page.waitForSelector(".chosen h2");
  await page.keyboard.press("?");
  await page.waitForSelector("dialog");
  await accessible(page, "keys");
  await page.keyboard.press("Escape");
  await page.waitForSelector("dialog", { state: "detached" });
  await page.keyboard.press("g");
  await page.keyboard.press("b");
  await page.waitForSelector("[data-search]");
  await page.keyboard.press("/");
  await page.keyboard.type("broken");
  await page.waitForFunction(() => document.querySelectorAll("a.row").length === 1);
  assert.match(page.url(), /filter=broken/);
  await page.goBack();
});

const views = () => [
  ["builds", "/builds", "a.row"],
  ["build", `/builds/${refs[0]}`, ".node"],
  ["timeline", `/builds/${refs[1]}?tab=timeline`, ".bar"],
  ["dockerfile", `/builds/${refs[0]}?tab=source`, ".source li"],
  ["results", `/builds/${refs[0]}?tab=results`, ".facts"],
  ["attestations", `${said}?tab=results`, ".attestation"],
  ["compare", `/compare/${refs[1]}/${refs[0]}`, "tbody tr"],
  ["images", "/images", "a.row"],
  ["image", "/images/app%3A2", ".entry"],
  ["waste", "/images/app%3A2?tab=waste", "tbody tr"],
  ["packages", "/images/said?tab=packages", "tbody tr"],
  ["history", "/images/app%3A2?tab=history", "tbody tr"],
  ["image-config", "/images/app%3A2?tab=config", ".document"],
  ["diff", "/diff?from=app%3A1&to=app%3A2&path=%2Fetc%2Fmotd", ".plus"],
  ["containers", "/containers", "a.row"],
  ["output", "/containers/web", ".line"],
  ["use", "/containers/web?tab=use", ".chart:has(polyline[points*=' '])"],
  ["terminal", "/containers/web?tab=terminal", ".xterm-rows"],
  ["config", "/containers/web?tab=config", ".document"],
  ["volumes", "/volumes", "tbody tr"],
  ["networks", "/networks", "tbody tr"],
  ["disk", "/disk", ".treemap rect"],
  ["nothing", "/nowhere", ".empty"],
];

for (const [look, options] of [
  ["light", {}],
  ["dark", { dark: true }],
  ["phone", { width: 390, height: 844 }],
  ["ja", { language: "ja-JP" }],
]) {
  test(`every address can be opened, ${look}, and shuts nobody out`, { timeout: 240_000 }, async () => {
    const mine = await open(url, options);
    for (const [name, path, ready] of views()) {
      await mine.goto(url.origin + path);
      await mine.waitForSelector(ready);
      await mine.reload();
      await mine.waitForSelector(ready);
      const width = await mine.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(width <= (options.width ?? 1280), `${name} is ${width} wide`);
      assert.equal(await mine.getAttribute("html", "lang"), look === "ja" ? "ja" : "en");
      await accessible(mine, name);
      if (shots && ["light", "phone"].includes(look)) await mine.screenshot({ path: `${shots}/${name}-${look}.png` });
    }
    if (look === "ja") {
      await mine.goto(`${url.origin}/builds`);
      await mine.waitForSelector("h1:text-is('ビルド')");
      await mine.selectOption("select", "en");
      await mine.waitForSelector("h1:text-is('Builds')");
    }
    assert.deepEqual(mine.problems, []);
    await mine.context().close();
  });
}

test("an empty store says what to type", { timeout: 60_000 }, async () => {
  const empty = await serve([], `${home}/empty`);
  const mine = await open(empty);
  for (const [path, command] of [
    ["/builds", "bld build -t hello ."],
    ["/images", "bld pull debian"],
    ["/containers", "bld run -d"],
    ["/volumes", "bld volume create data"],
    ["/disk", "bld build -t hello ."],
  ]) {
    await mine.goto(empty.origin + path);
    await mine.waitForSelector(`.empty pre:has-text('${command}')`);
    await accessible(mine, path);
  }
  await mine.goto(`${empty.origin}/networks`);
  await mine.waitForSelector("tr:has-text('bridge')");
  await mine.goto(`${empty.origin}/builds/none`);
  await mine.waitForSelector("[role=alert]:has-text('none')");
  await mine.context().close();
});

test("a page whose server has ended says so, and goes on with the next one", { timeout: 60_000 }, async () => {
  const first = await serve();
  const mine = await open(first);
  await mine.waitForSelector("a.row");
  await stop();
  await mine.waitForSelector("[role=alert]:has-text('does not answer')");
  // By its own address: what was opened before does not let anybody in again.
  const next = await serve(["--listen", first.host]);
  await mine.goto(String(next));
  await mine.waitForSelector("a.row");
  assert.equal(await mine.$("[role=alert]"), null);
  await mine.context().close();
});

test("a server that is read-only shows nothing that changes", { timeout: 60_000 }, async () => {
  const mine = await open(await serve(["--read-only"]));
  await mine.waitForSelector(".tag:has-text('read-only')");
  for (const path of ["/containers/web", "/volumes", "/disk", `/builds/${refs[0]}`]) {
    await mine.goto(new URL(mine.url()).origin + path);
    await mine.waitForSelector("h1");
    assert.equal(await mine.$(".danger, [data-tab=terminal], button:has-text('Stop')"), null, path);
  }
  await mine.context().close();
});
