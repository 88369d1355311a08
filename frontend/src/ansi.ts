// Colours of terminals, as classes. Everything else that a terminal would obey is left out: it is text.

export interface Span {
  text: string;
  class: string;
}

const NAMES = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];

interface Pen {
  color: string;
  bold: boolean;
  faint: boolean;
  italic: boolean;
  underline: boolean;
}

const PLAIN: Pen = { color: "", bold: false, faint: false, italic: false, underline: false };

// CSI sequences, strings such as OSC and DCS, and other escapes of two bytes.
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
const ESCAPE = /\x1b\[([0-9;:?]*)([ -/]*[@-~])|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]+[0-~]|\x1b[ -~]?/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: and these are never shown
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f]/g;

/** A line in pieces of one look each. */
export function spans(line: string): Span[] {
  // What was written over by a carriage return would not be seen.
  const seen = line.replace(/\r+$/, "");
  const shown = seen.slice(seen.lastIndexOf("\r") + 1);
  if (!shown.includes("\x1b")) return [{ text: clean(shown), class: "" }];
  const found: Span[] = [];
  let pen = PLAIN;
  let from = 0;
  const push = (text: string) => {
    const visible = clean(text);
    if (visible) found.push({ text: visible, class: look(pen) });
  };
  for (const match of shown.matchAll(ESCAPE)) {
    push(shown.slice(from, match.index));
    from = match.index + match[0].length;
    if (match[2] === "m") pen = draw(pen, match[1] ?? "");
  }
  push(shown.slice(from));
  return found.length > 0 ? found : [{ text: "", class: "" }];
}

/** A line without any escapes. */
export function plain(line: string): string {
  // Most lines are.
  if (line.search(CONTROL) < 0) return line;
  return spans(line)
    .map((span) => span.text)
    .join("");
}

function clean(text: string): string {
  return text.replace(CONTROL, "");
}

function look(pen: Pen): string {
  const names = [pen.color, pen.bold && "bold", pen.faint && "faint", pen.italic && "italic", pen.underline && "underline"];
  return names
    .filter(Boolean)
    .map((name) => `ansi-${name}`)
    .join(" ");
}

function draw(pen: Pen, codes: string): Pen {
  const next = { ...pen };
  const list = codes.split(/[;:]/).map((code) => Number(code || "0"));
  for (let index = 0; index < list.length; index++) {
    const code = list[index] ?? 0;
    if (code === 0) Object.assign(next, PLAIN);
    else if (code === 1) next.bold = true;
    else if (code === 2) next.faint = true;
    else if (code === 3) next.italic = true;
    else if (code === 4) next.underline = true;
    else if (code === 22) next.bold = next.faint = false;
    else if (code === 23) next.italic = false;
    else if (code === 24) next.underline = false;
    else if (code >= 30 && code <= 37) next.color = NAMES[code - 30] ?? "";
    else if (code >= 90 && code <= 97) next.color = NAMES[code - 90] ?? "";
    else if (code === 39) next.color = "";
    else if (code === 38 || code === 48) {
      // Of the other palettes only the first sixteen have names here.
      const value = list[index + 2] ?? 0;
      if (list[index + 1] === 5) {
        if (code === 38) next.color = value < 16 ? (NAMES[value % 8] ?? "") : "";
        index += 2;
      } else if (list[index + 1] === 2) {
        index += 4;
      }
    }
  }
  return next;
}
