import { signal } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
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
  return listen("/events", Object.fromEntries(kinds.map((kind) => [kind, bump(kind)])), anew);
}

export interface Loaded<T> {
  data: T | null;
  error: ApiError | null;
  again: () => void;
}

/** A document, asked for again when lists of that kind change. What was there stays until the next is. */
export function useDocument<T>(path: string | null, kind?: string): Loaded<T> {
  const [state, setState] = useState<{ path: string | null; data: T | null; error: ApiError | null }>({
    path,
    data: null,
    error: null,
  });
  const [round, setRound] = useState(0);
  const change = kind ? (changes.value[kind] ?? 0) : 0;
  const ask = useRef<() => void>(() => {});
  useEffect(() => {
    if (path === null) return;
    let gone = false;
    let busy = false;
    let missed = false;
    // One question at a time: what changes meanwhile is asked for afterwards.
    ask.current = () => {
      if (busy) {
        missed = true;
        return;
      }
      busy = true;
      missed = false;
      get<T>(path)
        .then(
          (data) => {
            reachable.value = true;
            if (!gone) setState({ path, data, error: null });
          },
          (error: ApiError) => {
            if (error.code === "unreachable") reachable.value = false;
            if (!gone) setState((old) => ({ path, data: old.path === path ? old.data : null, error }));
          },
        )
        .finally(() => {
          busy = false;
          if (missed && !gone) ask.current();
        });
    };
    return () => {
      gone = true;
      ask.current = () => {};
    };
  }, [path]);
  useEffect(() => ask.current(), [path, change, round]);
  const current = state.path === path;
  return {
    data: current ? state.data : null,
    error: current ? state.error : null,
    again: () => setRound((value) => value + 1),
  };
}
