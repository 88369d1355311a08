import { useEffect, useReducer, useRef } from "preact/hooks";
import { type Build, listen, part } from "../api";
import { type BuildEvent, Model } from "./model";

/** A build, followed while it runs. Drawn again at most once for each frame, however much happens. */
export function useBuild(ref: string): { model: Model; version: number; ended: Build | null; now: number } {
  const model = useRef(new Model());
  const ended = useRef<Build | null>(null);
  const [version, redraw] = useReducer((count: number) => count + 1, 0);
  useEffect(() => {
    const mine = new Model();
    model.current = mine;
    ended.current = null;
    let frame = 0;
    const draw = () => {
      frame ||= requestAnimationFrame(() => {
        frame = 0;
        redraw(undefined);
      });
    };
    const close = listen(`/builds/${part(ref)}/events`, {
      event: (event: BuildEvent) => {
        mine.apply(event);
        draw();
      },
      end: (build: Build) => {
        ended.current = build;
        clearInterval(clock);
        draw();
      },
    });
    // Times go on when nothing happens.
    const clock = setInterval(draw, 500);
    return () => {
      close();
      clearInterval(clock);
      cancelAnimationFrame(frame);
    };
  }, [ref]);
  const now = ended.current ? model.current.latest : Math.max(Date.now(), model.current.latest);
  return { model: model.current, version, ended: ended.current, now };
}
