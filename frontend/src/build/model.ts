// A build as its events tell it.

export type State = "waiting" | "running" | "cached" | "done" | "failed" | "canceled";

export interface Vertex {
  id: number;
  name: string;
  stage: string;
  inputs: number[];
  lines: [number, number] | null;
  internal: boolean;
  result: string | null;
}

export interface Miss {
  kind: "new" | "changed" | "moved" | "follows" | "forced" | "gone";
  changes: string[];
  causes: number[];
  advice: string | null;
}

export type Hit = string | Record<string, { same?: string[]; from?: string }>;

export interface Progress {
  item: string;
  current: number;
  total: number | null;
  done: boolean;
}

type Kind =
  | "started"
  | "done"
  | "canceled"
  | {
      planned?: Vertex;
      progress?: Progress;
      log?: { stream: string; data: string | number[] };
      cached?: Hit;
      missed?: Miss;
      failed?: { error: string };
      note?: { message: string };
      warning?: { message: string; url: string | null };
      dockerfile?: { name: string; text: string };
    };

export interface BuildEvent {
  /** Nanoseconds since 1970. */
  at: number;
  id: number;
  kind: Kind;
}

export interface Step extends Vertex {
  state: State;
  /** Milliseconds since 1970. */
  started: number | null;
  ended: number | null;
  hit: Hit | null;
  miss: Miss | null;
  error: string | null;
  progress: Map<string, Progress>;
  log: Log;
  notes: string[];
}

/** The output of a step, line by line. */
export class Log {
  readonly lines: string[] = [];
  #open = false;
  #decoder = new TextDecoder();

  push(data: string | number[]) {
    const text = typeof data === "string" ? data : this.#decoder.decode(new Uint8Array(data), { stream: true });
    const pieces = text.split("\n");
    if (this.#open && this.lines.length > 0) {
      this.lines[this.lines.length - 1] += pieces.shift() ?? "";
    }
    // What follows the last line break is a line only when there is something.
    const last = pieces.length > 0 ? pieces.pop() : undefined;
    for (const piece of pieces) this.lines.push(piece);
    if (last) this.lines.push(last);
    this.#open = last === undefined ? !text.endsWith("\n") : last !== "";
  }
}

export class Model {
  readonly steps = new Map<number, Step>();
  dockerfile: { name: string; text: string } | null = null;
  warnings: { message: string; url: string | null }[] = [];
  /** When the first and the latest event were, in milliseconds since 1970. */
  begun = 0;
  latest = 0;

  apply({ at, id, kind }: BuildEvent) {
    const time = at / 1e6;
    if (!this.begun) this.begun = time;
    this.latest = Math.max(this.latest, time);
    if (typeof kind === "object" && kind.planned) {
      this.steps.set(id, {
        ...kind.planned,
        state: "waiting",
        started: null,
        ended: null,
        hit: null,
        miss: null,
        error: null,
        progress: new Map(),
        log: new Log(),
        notes: [],
      });
      return;
    }
    if (typeof kind === "object" && kind.dockerfile) {
      this.dockerfile = kind.dockerfile;
      return;
    }
    const step = this.steps.get(id);
    if (!step) return;
    if (kind === "started") {
      step.state = "running";
      step.started = time;
    } else if (kind === "done" || kind === "canceled") {
      this.#end(step, kind, time);
    } else if (kind.progress) {
      step.progress.set(kind.progress.item, kind.progress);
    } else if (kind.log) {
      step.log.push(kind.log.data);
    } else if (kind.cached !== undefined) {
      step.hit = kind.cached;
      this.#end(step, "cached", time);
    } else if (kind.missed) {
      step.miss = kind.missed;
    } else if (kind.failed) {
      step.error = kind.failed.error;
      this.#end(step, "failed", time);
    } else if (kind.note) {
      step.notes.push(kind.note.message);
    } else if (kind.warning) {
      this.warnings.push(kind.warning);
    }
  }

  #end(step: Step, state: State, time: number) {
    step.state = state;
    step.ended = time;
  }

  /** The steps of the Dockerfile, in the order in which they were planned. */
  real(): Step[] {
    return [...this.steps.values()].filter((step) => !step.internal);
  }
}

/** How long a step took, in milliseconds; so far, if it runs. */
export function took(step: Step, now: number): number {
  if (step.started === null) return 0;
  return Math.max(0, (step.ended ?? now) - step.started);
}

/** The steps that decide how long the build took: from the last to end back along what each waited for. */
export function criticalPath(steps: Step[]): Set<number> {
  const byId = new Map(steps.map((step) => [step.id, step]));
  let last: Step | undefined;
  for (const step of steps) {
    if (!step.internal && step.ended !== null && (!last || step.ended >= (last.ended ?? 0))) last = step;
  }
  const path = new Set<number>();
  // What comes after the last step, such as naming the image, waits for all of them.
  const end = last?.ended ?? Number.POSITIVE_INFINITY;
  for (const step of steps) {
    if (step.internal && step.started !== null && step.started >= end) path.add(step.id);
  }
  while (last && !path.has(last.id)) {
    path.add(last.id);
    let next: Step | undefined;
    for (const id of last.inputs) {
      const input = byId.get(id);
      if (input && input.ended !== null && (!next || input.ended > (next.ended ?? 0))) next = input;
    }
    last = next;
  }
  return path;
}

/** What the time of a build was made of: the steps that decided it, the longest first, and all else together. */
export function spent(steps: Step[], critical: Set<number>, whole: number): { parts: { step: Step; ms: number }[]; rest: number } {
  const parts = steps
    .filter((step) => critical.has(step.id) && step.ended !== null && step.state !== "cached")
    .map((step) => ({ step, ms: took(step, 0) }))
    .filter(({ ms }) => ms > 0)
    .sort((a, b) => b.ms - a.ms);
  return { parts, rest: Math.max(0, parts.reduce((left, { ms }) => left - ms, whole)) };
}

/** How many steps ran at the same time at most, and on average while any ran. */
export function parallelism(steps: Step[], now: number): { most: number; average: number } {
  const edges: [number, number][] = [];
  for (const step of steps) {
    if (step.started === null || step.state === "cached") continue;
    edges.push([step.started, 1], [step.ended ?? now, -1]);
  }
  // Of two at the same time, the end comes first.
  edges.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  let [running, most, busy, area, before] = [0, 0, 0, 0, 0];
  for (const [time, change] of edges) {
    if (running > 0) {
      busy += time - before;
      area += running * (time - before);
    }
    running += change;
    most = Math.max(most, running);
    before = time;
  }
  return { most, average: busy > 0 ? area / busy : 0 };
}

export interface Placed {
  step: Step;
  /** The column of its stage, and its place from the top. */
  column: number;
  row: number;
}

/**
 * Where steps are drawn: a column for each stage, and in it each step below all that it needs. What is
 * placed stays where it is when more steps come, so that nothing jumps.
 */
export function layout(steps: Step[]): { placed: Map<number, Placed>; columns: string[]; rows: number } {
  const columns: string[] = [];
  const column = new Map<string, number>();
  const next: number[] = [];
  const placed = new Map<number, Placed>();
  let rows = 0;
  for (const step of steps) {
    let at = column.get(step.stage);
    if (at === undefined) {
      at = columns.length;
      column.set(step.stage, at);
      columns.push(step.stage);
      next.push(0);
    }
    let row = next[at] ?? 0;
    for (const id of step.inputs) {
      const input = placed.get(id);
      if (input) row = Math.max(row, input.row + 1);
    }
    next[at] = row + 1;
    rows = Math.max(rows, row + 1);
    placed.set(step.id, { step, column: at, row });
  }
  return { placed, columns, rows };
}

/** The name without the mark of stage and number, and that mark. */
export function split(name: string): { mark: string; rest: string } {
  const match = /^\[([^\]]*)\]\s*(.*)$/s.exec(name);
  return match ? { mark: match[1] ?? "", rest: match[2] ?? "" } : { mark: "", rest: name };
}

/** Steps of two builds side by side: what has the same stage and text belongs together, in order. */
export function pair(before: Step[], after: Step[]): { before: Step | null; after: Step | null }[] {
  const key = (step: Step) => `${step.stage}\0${split(step.name).rest}`;
  const place = new Map<string, number[]>();
  after.forEach((step, index) => {
    const list = place.get(key(step)) ?? [];
    list.push(index);
    place.set(key(step), list);
  });
  const partner = before.map((step) => place.get(key(step))?.shift() ?? -1);
  const taken = new Set(partner);
  const pairs: { before: Step | null; after: Step | null }[] = [];
  let index = 0;
  const own = (limit: number) => {
    for (; index < limit; index++) {
      const step = after[index];
      if (step && !taken.has(index)) pairs.push({ before: null, after: step });
    }
  };
  before.forEach((step, at) => {
    const other = partner[at] ?? -1;
    if (other >= 0) own(other);
    pairs.push({ before: step, after: other >= 0 ? (after[other] ?? null) : null });
  });
  own(after.length);
  return pairs;
}
