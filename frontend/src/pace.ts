/**
 * Draws something anew, at most once for each frame, and the less often the longer it takes: what comes meanwhile is
 * drawn together.
 */
export class Pace {
  #draw: () => void;
  #waits = false;
  #timer = 0;
  #frame = 0;
  /** When the next drawing may begin. */
  #next = 0;

  /** The first drawing may wait for more, milliseconds, unless it is asked for by `now`. */
  constructor(draw: () => void, patience = 0) {
    this.#draw = draw;
    this.#next = performance.now() + patience;
  }

  /** Something has changed. */
  readonly ask = () => {
    if (this.#waits) return;
    this.#waits = true;
    const wait = this.#next - performance.now();
    if (wait > 8) this.#timer = setTimeout(this.#soon, wait);
    else this.#soon();
  };

  /** Something has changed, and nothing else will soon. */
  now() {
    this.stop();
    this.#waits = true;
    this.#soon();
  }

  readonly #soon = () => {
    this.#frame = requestAnimationFrame(() => {
      this.#waits = false;
      const begun = performance.now();
      this.#draw();
      // By the next task the frame is done, with all that the browser had to do for it.
      setTimeout(() => {
        const now = performance.now();
        this.#next = now + (now - begun);
      });
    });
  };

  stop() {
    clearTimeout(this.#timer);
    cancelAnimationFrame(this.#frame);
  }
}
