// Puts what vite has made, file by file and compressed, where the server embeds it.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { gzipSync } from "node:zlib";

const from = "dist";
const to = "../crates/server/page";

for (const name of readdirSync(to)) {
  if (name !== ".gitignore") rmSync(join(to, name), { recursive: true });
}
let total = 0;
for (const entry of readdirSync(from, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile()) continue;
  const path = join(entry.parentPath, entry.name);
  const packed = gzipSync(readFileSync(path), { level: 9 });
  const target = join(to, `${relative(from, path)}.gz`);
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(target, packed);
  total += packed.length;
}
console.log(`${(total / 1000).toFixed(1)} kB compressed`);
if (total > 250_000) {
  console.error("the page is to stay below 250 kB");
  process.exit(1);
}
