import { signal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { type ApiError, get, listen } from "./api";

/** What happened last: how often each list has changed since the page was opened. */
const changes = signal<Record<string, number>>({});
export const reachable = signal(true);

/** Listens to what changes in the store, for as long as the page is there. */
export function watch() {
  const kinds = ["builds", "images", "containers", "volumes", "networks"];
  const bump = (kind: string) => () => {
    changes.value = { ...changes.value, [kind]: (changes.value[kind] ?? 0) + 1 };
  };
  // Whatever happened while nobody listened.
  const anew = () => {
    for (const kind of kinds) bump(kind)();
  };
  const lost = (is: boolean) => {
    reachable.value = !is;
  };
  return listen("/events", Object.fromEntries(kinds.map((kind) => [kind, bump(kind)])), anew, lost);
}

/** Documents that came before anything was drawn; each serves once. */
const early = new Map<string, unknown>();

/** Milliseconds after which the page is drawn without them. */
const PATIENCE = 150;

/** Waits for the first documents of a view, which the browser fetches while it reads the page: drawn once is drawn sooner. */
export async function comeEarly(paths: string[]) {
  const come = Promise.all(
    paths.map((path) =>
      get(path).then(
        (data) => early.set(path, data),
        () => {},
      ),
    ),
  );
  await Promise.race([come, new Promise((resolve) => setTimeout(resolve, PATIENCE))]);
}

/** The document, if it came early, for whoever asks for it first. */
function take<T>(path: string | null): T | null {
  if (path === null || !early.has(path)) return null;
  const data = early.get(path) as T;
  early.delete(path);
  return data;
}

export interface Loaded<T> {
  data: T | null;
  error: ApiError | null;
  again: () => void;
}

/** The time, every half second while something goes on. */
export function useClock(on: boolean): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    if (!on) return;
    setNow(Date.now());
    const clock = setInterval(() => setNow(Date.now()), 500);
    return () => clearInterval(clock);
  }, [on]);
  return now;
}

/**
 * A document, asked for again when lists of that kind change. What was there stays until the next is; with
 * `keep` also when it is another one that is asked for.
 */
export function useDocument<T>(path: string | null, kind?: string, keep = false): Loaded<T> {
  const [state, setState] = useState<{ path: string | null; data: T | null; error: ApiError | null }>(() => ({
    path,
    data: take<T>(path),
    error: null,
  }));
  const fresh = useRef(state.data !== null);
  const [round, setRound] = useState(0);
  const change = kind ? (changes.value[kind] ?? 0) : 0;
  const ask = useRef<() => void>(() => {});
  // Not after the next frame: the answer is on its way meanwhile.
  useLayoutEffect(() => {
    if (path === null) return;
    let gone = false;
    let busy = false;
    let missed = false;
    // One question at a time: what changes meanwhile is asked for afterwards, and the harder a question is to
    // answer the less often.
    ask.current = () => {
      if (fresh.current) {
        fresh.current = false;
        return;
      }
      if (busy) {
        missed = true;
        return;
      }
      busy = true;
      missed = false;
      const asked = performance.now();
      get<T>(path)
        .then(
          (data) => {
            reachable.value = true;
            if (!gone) setState({ path, data, error: null });
          },
          (error: ApiError) => {
            if (error.code === "unreachable") reachable.value = false;
            if (!gone) setState((old) => ({ path, data: keep || old.path === path ? old.data : null, error }));
          },
        )
        .finally(() => {
          const took = performance.now() - asked;
          setTimeout(
            () => {
              busy = false;
              if (missed && !gone) ask.current();
            },
            Math.min(2 * took, 2000),
          );
        });
    };
    return () => {
      gone = true;
      ask.current = () => {};
    };
  }, [path]);
  useLayoutEffect(() => ask.current(), [path, change, round]);
  const current = keep || state.path === path;
  return {
    data: current ? state.data : null,
    error: current ? state.error : null,
    again: () => setRound((value) => value + 1),
  };
}
