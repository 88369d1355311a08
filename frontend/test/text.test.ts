import { expect, test } from "vitest";
import { plain, spans } from "../src/ansi";
import { bytes, duration, short } from "../src/format";
import { LineSearch } from "../src/search";
import { treemap } from "../src/treemap";

test("colours become classes, and nothing else is obeyed", () => {
  expect(spans("a\x1b[1;31mb\x1b[0mc")).toEqual([
    { text: "a", class: "" },
    { text: "b", class: "ansi-red ansi-bold" },
    { text: "c", class: "" },
  ]);
  expect(spans("\x1b[38;5;2mx\x1b[38;2;1;2;3my\x1b[39mz").map((span) => span.text)).toEqual(["x", "y", "z"]);
  expect(plain("\x1b]0;title\x07\x1b[2J\x1b[Hshown\x1b(B\x00\x08!")).toBe("shown!");
  expect(plain("a\x1bP1$r\x1b\\b\x1b_x\x1b\\c\x1bP")).toBe("abc");
  expect(plain("10 %\r50 %\r100 %\r")).toBe("100 %");
  expect(plain("<b onload=x>\x1b")).toBe("<b onload=x>");
  expect(spans("")).toEqual([{ text: "", class: "" }]);
});

test("numbers are short", () => {
  expect([0, 999, 1000, 12_345, 123_456_789, 5e12].map(bytes)).toEqual(["0 B", "999 B", "1.00 kB", "12.3 kB", "123 MB", "5.00 TB"]);
  expect([999_499, 999_500].map(bytes)).toEqual(["999 kB", "1.00 MB"]);
  expect([999.7, 59_960].map(duration)).toEqual(["1.0 s", "1:00 min"]);
  expect([0.2, 40, 1500, 61_000, 3_700_000].map(duration)).toEqual(["0 ms", "40 ms", "1.5 s", "1:01 min", "1:01:40 h"]);
  expect(short("sha256:0123456789abcdef")).toBe("0123456789ab");
});

test("a treemap gives everything its share and fills the whole", () => {
  const sizes = [60, 30, 0, 5, 3, 2];
  const boxes = treemap(sizes, (size) => size, 200, 50);
  expect(boxes.map((box) => box.item)).toEqual([60, 30, 5, 3, 2]);
  for (const box of boxes) {
    expect(box.width * box.height).toBeCloseTo(box.item * 100, 6);
    expect(box.x).toBeGreaterThanOrEqual(0);
    expect(box.x + box.width).toBeLessThanOrEqual(200 + 1e-9);
    expect(box.y + box.height).toBeLessThanOrEqual(50 + 1e-9);
  }
  expect(treemap([], () => 1, 10, 10)).toEqual([]);
});

test("lines are found as they come", () => {
  const search = new LineSearch();
  const lines = ["one", "t\x1b[1mwo", "th"];
  expect(search.find(lines, "")).toEqual([]);
  expect(search.find(lines, "TWO")).toEqual([1]);
  expect(search.find(lines, "th")).toEqual([2]);
  // The last line grows, and others come.
  lines[2] += "ree";
  lines.push("thin");
  expect(search.find(lines, "th")).toEqual([2, 3]);
  expect(search.find(lines, "three")).toEqual([2]);
  expect(search.find(["three"], "three")).toEqual([0]);
});
