import { describe, expect, test } from "vitest";
import { type BuildEvent, criticalPath, Log, layout, Model, pair, parallelism, spent, split, type Vertex } from "../src/build/model";

function vertex(id: number, stage: string, inputs: number[], name = `step ${id}`): Vertex {
  return { id, name, stage, inputs, lines: null, internal: stage === "", result: null };
}

function model(...events: [number, number, BuildEvent["kind"]][]): Model {
  const built = new Model();
  for (const [ms, id, kind] of events) built.apply({ at: ms * 1e6, id, kind });
  return built;
}

describe("a model", () => {
  test("knows the state of each step", () => {
    const built = model(
      [1, 1, { planned: vertex(1, "a", []) }],
      [1, 2, { planned: vertex(2, "a", [1]) }],
      [1, 3, { planned: vertex(3, "a", [2]) }],
      [1, 4, { planned: vertex(4, "a", [3]) }],
      [2, 1, { cached: "definition" }],
      [3, 2, { missed: { kind: "new", changes: ["x"], causes: [], advice: null } }],
      [3, 2, "started"],
      [4, 2, { log: { stream: "stdout", data: "one\ntw" } }],
      [5, 2, { log: { stream: "stdout", data: [111, 10] } }],
      [6, 2, "done"],
      [6, 3, "started"],
      [7, 3, { failed: { error: "no" } }],
      [7, 4, "canceled"],
    );
    const steps = built.real();
    expect(steps.map((step) => step.state)).toEqual(["cached", "done", "failed", "canceled"]);
    expect(steps[1]?.log.lines).toEqual(["one", "two"]);
    expect(steps[1]?.miss?.changes).toEqual(["x"]);
    expect(steps[2]?.error).toBe("no");
    expect([built.begun, built.latest]).toEqual([1, 7]);
  });

  test("does not mind what it does not know", () => {
    const built = model([1, 9, "started"], [1, 9, { note: { message: "x" } }]);
    expect(built.steps.size).toBe(0);
  });
});

test("lines come in any pieces", () => {
  const text = "a\n\nb\nc";
  for (let cut = 0; cut <= text.length; cut++) {
    const log = new Log();
    log.push(text.slice(0, cut));
    log.push(text.slice(cut));
    expect(log.lines, `cut at ${cut}`).toEqual(["a", "", "b", "c"]);
  }
  const log = new Log();
  for (const byte of [0xe3, 0x81, 0x82, 10]) log.push([byte]);
  expect(log.lines).toEqual(["あ"]);
});

test("time goes to what decides how long it takes", () => {
  const built = model(
    [0, 1, { planned: vertex(1, "a", []) }],
    [0, 2, { planned: vertex(2, "a", [1]) }],
    [0, 3, { planned: vertex(3, "b", []) }],
    [10, 1, "started"],
    [10, 3, "started"],
    [20, 3, "done"],
    [40, 1, "done"],
    [40, 2, "started"],
    [100, 2, "done"],
  );
  const steps = [...built.steps.values()];
  const { parts, rest } = spent(steps, criticalPath(steps), 100);
  expect(parts.map(({ step, ms }) => [step.id, ms])).toEqual([
    [2, 60],
    [1, 30],
  ]);
  expect(rest).toBe(10);
});

test("the critical path is what the end waited for", () => {
  const built = model(
    [0, 1, { planned: vertex(1, "a", []) }],
    [0, 2, { planned: vertex(2, "b", []) }],
    [0, 3, { planned: vertex(3, "c", [1, 2]) }],
    [0, 4, { planned: vertex(4, "", []) }],
    [0, 1, "started"],
    [0, 2, "started"],
    [5, 1, "done"],
    [9, 2, "done"],
    [9, 3, "started"],
    [10, 3, "done"],
    [10, 4, "started"],
    [12, 4, "done"],
  );
  expect([...criticalPath([...built.steps.values()])].sort()).toEqual([2, 3, 4]);
  expect(parallelism(built.real(), 12)).toEqual({ most: 2, average: 1.5 });
});

test("steps stay where they are when more come", () => {
  const vertices = [vertex(1, "a", []), vertex(2, "a", [1]), vertex(3, "b", [1]), vertex(4, "b", [3, 2]), vertex(5, "a", [2])];
  const steps = model(...vertices.map((one): [number, number, BuildEvent["kind"]] => [0, one.id, { planned: one }])).real();
  const places = (count: number) =>
    [...layout(steps.slice(0, count)).placed.values()].map(({ step, column, row }) => [step.id, column, row]);
  expect(places(5)).toEqual([
    [1, 0, 0],
    [2, 0, 1],
    [3, 1, 1],
    [4, 1, 2],
    [5, 0, 2],
  ]);
  for (let count = 1; count < 5; count++) expect(places(count)).toEqual(places(5).slice(0, count));
});

test("steps of two builds find each other", () => {
  const steps = (...names: string[]) =>
    model(
      ...names.map((name, index): [number, number, BuildEvent["kind"]] => [0, index + 1, { planned: vertex(index + 1, "s", [], `[s ${index + 1}/9] ${name}`) }]),
    ).real();
  const found = pair(steps("RUN a", "RUN b", "RUN b", "RUN c"), steps("RUN a", "RUN new", "RUN b", "RUN c"));
  const text = (name: string | undefined) => (name ? split(name).rest : "–");
  expect(found.map(({ before, after }) => `${text(before?.name)} | ${text(after?.name)}`)).toEqual([
    "RUN a | RUN a",
    "– | RUN new",
    "RUN b | RUN b",
    "RUN b | –",
    "RUN c | RUN c",
  ]);
});
