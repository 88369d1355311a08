import { plain } from "./ansi";

/** Finds lines that hold a text. Lines only ever come at the end, so each is looked at once. */
export class LineSearch {
  #lines: string[] | null = null;
  #text = "";
  #seen = 0;
  #found: number[] = [];

  /** The numbers of the lines that hold `text`, whatever the case, from 0 on. */
  find(lines: string[], text: string): readonly number[] {
    if (lines !== this.#lines || text !== this.#text || lines.length < this.#seen) {
      this.#lines = lines;
      this.#text = text;
      this.#seen = 0;
      this.#found = [];
    }
    if (!text) return this.#found;
    const wanted = text.toLowerCase();
    // What was the last line may have grown.
    const from = Math.max(0, this.#seen - 1);
    while ((this.#found.at(-1) ?? -1) >= from) this.#found.pop();
    for (let index = from; index < lines.length; index++) {
      if (plain(lines[index] ?? "").toLowerCase().includes(wanted)) this.#found.push(index);
    }
    this.#seen = lines.length;
    return this.#found;
  }
}
