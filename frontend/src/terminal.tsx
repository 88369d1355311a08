// A terminal in a container. A part of the page of its own, as it is large.

import { FitAddon } from "@xterm/addon-fit";
import { Terminal as Xterm } from "@xterm/xterm";
import "@xterm/xterm/css/xterm.css";
import { useEffect, useRef, useState } from "preact/hooks";
import { address, part } from "./api";
import { t } from "./i18n";

/**
 * The document as xterm.js sees it. It puts its rules into style elements, which our policy forbids;
 * here they become style sheets that scripts may make.
 */
function strict(): Document {
  const create = (name: string, options?: ElementCreationOptions): HTMLElement => {
    if (name !== "style") return document.createElement(name, options);
    const sheet = new CSSStyleSheet();
    const element = document.createElement("span");
    element.hidden = true;
    Object.defineProperty(element, "textContent", {
      set: (text: string) => {
        sheet.replaceSync(text);
      },
    });
    const remove = element.remove.bind(element);
    element.remove = () => {
      document.adoptedStyleSheets = document.adoptedStyleSheets.filter((one) => one !== sheet);
      remove();
    };
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
    return element;
  };
  return new Proxy(document, {
    get(target, name) {
      if (name === "createElement") return create;
      const value = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

export default function Terminal({ container }: { container: string }) {
  const box = useRef<HTMLDivElement>(null);
  const [end, setEnd] = useState<string | null>(null);
  const [round, setRound] = useState(0);
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    setEnd(null);
    const terminal = new Xterm({
      cursorBlink: !matchMedia("(prefers-reduced-motion: reduce)").matches,
      fontFamily: "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace",
      fontSize: 13,
      scrollback: 10_000,
      screenReaderMode: true,
      theme: { background: "#14181b", foreground: "#dfe5e3" },
      documentOverride: strict(),
    });
    const fit = new FitAddon();
    terminal.loadAddon(fit);
    terminal.open(element);
    fit.fit();
    terminal.focus();
    const socket = new WebSocket(address(`/containers/${part(container)}/exec`));
    socket.binaryType = "arraybuffer";
    const resize = () => {
      fit.fit();
      if (socket.readyState === WebSocket.OPEN) {
        socket.send(JSON.stringify({ resize: { rows: terminal.rows, cols: terminal.cols } }));
      }
    };
    socket.onopen = resize;
    socket.onmessage = ({ data }) => {
      if (typeof data === "string") {
        const said = JSON.parse(data) as { exit?: number; error?: { message: string } };
        setEnd(said.error?.message ?? t("ended", said.exit ?? 0));
      } else terminal.write(new Uint8Array(data));
    };
    const encoder = new TextEncoder();
    terminal.onData((text) => {
      if (socket.readyState === WebSocket.OPEN) socket.send(encoder.encode(text));
    });
    const observer = new ResizeObserver(resize);
    observer.observe(element);
    return () => {
      observer.disconnect();
      socket.close();
      terminal.dispose();
    };
  }, [container, round]);
  return (
    <>
      <div class="terminal" ref={box} />
      {end !== null && (
        <p class="quiet" role="status">
          {end}{" "}
          <button type="button" onClick={() => setRound(round + 1)}>
            {t("start")}
          </button>
        </p>
      )}
    </>
  );
}
