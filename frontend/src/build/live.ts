import { useEffect, useReducer, useRef } from "preact/hooks";
import { type Build, listen, part } from "../api";
import { Pace } from "../pace";
import { type BuildEvent, Model } from "./model";

/** How long the journal of a build that is over may take to come, milliseconds: it is drawn once, when it has. */
const PATIENCE = 400;

/** A build, followed while it runs, and drawn no more often than it can be. */
export function useBuild(ref: string, over = false): { model: Model; version: number; ended: Build | null; now: number } {
  const model = useRef(new Model());
  const ended = useRef<Build | null>(null);
  const [version, redraw] = useReducer((count: number) => count + 1, 0);
  useEffect(() => {
    const mine = new Model();
    model.current = mine;
    ended.current = null;
    const pace = new Pace(() => redraw(undefined), over ? PATIENCE : 0);
    const close = listen(`/builds/${part(ref)}/events`, {
      event: (event: BuildEvent) => {
        mine.apply(event);
        pace.ask();
      },
      end: (build: Build) => {
        ended.current = build;
        clearInterval(clock);
        pace.now();
      },
    });
    // Times go on when nothing happens.
    const clock = setInterval(pace.ask, 500);
    return () => {
      close();
      clearInterval(clock);
      pace.stop();
    };
  }, [ref]);
  const now = ended.current ? model.current.latest : Math.max(Date.now(), model.current.latest);
  return { model: model.current, version, ended: ended.current, now };
}
