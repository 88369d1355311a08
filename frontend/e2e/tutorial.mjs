// Pictures of what the tutorial has made, in both of its languages. The tutorial's test runs this in the middle of it.
import assert from "node:assert/strict";
import { join } from "node:path";
import { end, home, open, serve } from "./stage.mjs";

const to = process.env.SHOTS ?? home;

async function take(url, suffix, language) {
  const page = await open(url, { height: 720, language });
  const go = (path) => page.goto(url.origin + path);
  const picture = (name) => page.screenshot({ path: join(to, `tutorial-${name}${suffix}.png`) });

  await go("/builds?filter=hello");
  await page.click("a.row >> nth=0");
  await page.click(".node:has-text('COPY greeting.txt')");
  await page.waitForSelector(".why:has-text('greeting.txt changed (bytes)')");
  await picture("build");

  await go("/images/site%3A2");
  await page.click(".layers button:has-text('COPY /www /www')");
  await page.click("button.entry:has-text('www/')");
  await page.waitForSelector(".entry:has-text('index.html')");
  await picture("image");

  await go("/diff?from=site%3A1&to=site%3A2");
  await page.click("button.entry:has-text('/www/index.html')");
  await page.waitForSelector(".plus:has-text('<h1>Second</h1>')");
  await picture("diff");

  assert.deepEqual(page.problems, []);
  await page.context().close();
}

try {
  const url = await serve();
  await take(url, "", "en");
  await take(url, "-ja", "ja-JP");
} finally {
  await end();
}
