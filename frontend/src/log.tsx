// Lines of output: very many of them, and only those are drawn that are seen.

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { plain, spans } from "./ansi";
import { t } from "./i18n";
import { LineSearch } from "./search";

/** Height of a line in pixels; the style sheet has the same. */
const LINE = 20;
/** Lines that are drawn above and below what is seen. */
const SPARE = 20;

/** Lines grow while `live`. With `end`, the last ones are shown first. */
export function LogView(props: { lines: string[]; version: number; label: string; live: boolean; end?: boolean }) {
  const { lines, version, label, live } = props;
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(400);
  const [follow, setFollow] = useState(true);
  const [text, setText] = useState("");
  const [current, setCurrent] = useState(0);
  const search = useRef(new LineSearch());
  const found = search.current.find(lines, text);

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const observer = new ResizeObserver(() => setHeight(element.clientHeight));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  useLayoutEffect(() => {
    const element = box.current;
    if (element && follow && (live || props.end)) element.scrollTop = element.scrollHeight;
  }, [version, follow, live, props.end]);

  const jump = (index: number) => {
    const line = found[index];
    if (line === undefined || !box.current) return;
    setCurrent(index);
    setFollow(false);
    box.current.scrollTop = Math.max(0, line * LINE - height / 2);
  };
  // To the first match, as soon as there is one.
  useEffect(() => {
    if (text) jump(0);
  }, [text]);
  const step = (by: number) => jump((current + by + found.length) % Math.max(found.length, 1));
  const from = Math.max(0, Math.floor(top / LINE) - SPARE);
  const to = Math.min(lines.length, Math.ceil((top + height) / LINE) + SPARE);
  const marked = found[current];
  return (
    <div class="log">
      <div class="tools">
        <input
          type="search"
          data-search
          aria-label={`${t("search")}: ${label}`}
          placeholder={t("search")}
          value={text}
          onInput={(event) => {
            setText(event.currentTarget.value);
          }}
          onKeyDown={(event) => event.key === "Enter" && step(event.shiftKey ? -1 : 1)}
        />
        <span class="quiet" aria-live="polite">
          {text ? t("matches", found.length) : t("matches", lines.length)}
        </span>
        <button type="button" disabled={found.length === 0} onClick={() => step(-1)}>
          {t("previous")}
        </button>
        <button type="button" disabled={found.length === 0} onClick={() => step(1)}>
          {t("next")}
        </button>
        {live && (
          <label>
            <input type="checkbox" checked={follow} onChange={(event) => setFollow(event.currentTarget.checked)} />
            {t("follow")}
          </label>
        )}
      </div>
      <section
        class="lines"
        ref={box}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by keys
        tabIndex={0}
        aria-label={label}
        onScroll={(event) => {
          const element = event.currentTarget;
          setTop(element.scrollTop);
          if (element.scrollHeight - element.scrollTop - element.clientHeight > 3 * LINE) setFollow(false);
        }}
      >
        {lines.length === 0 && <p class="quiet">{t("noOutput")}</p>}
        <div class="all" style={{ height: `${lines.length * LINE}px` }}>
          <div class="seen" style={{ transform: `translateY(${from * LINE}px)` }}>
            {lines.slice(from, to).map((line, index) => (
              <div key={from + index} class={from + index === marked ? "line marked" : "line"}>
                <span class="number" aria-hidden="true">
                  {from + index + 1}
                </span>
                <span>{text ? <Marked line={plain(line)} text={text} /> : <Colored line={line} />}</span>
              </div>
            ))}
          </div>
        </div>
      </section>
    </div>
  );
}

function Colored({ line }: { line: string }) {
  return (
    <>
      {spans(line).map((span, index) => (
        <span key={index} class={span.class}>
          {span.text}
        </span>
      ))}
    </>
  );
}

function Marked({ line, text }: { line: string; text: string }) {
  const at = line.toLowerCase().indexOf(text.toLowerCase());
  if (at < 0) return <>{line}</>;
  return (
    <>
      {line.slice(0, at)}
      <mark>{line.slice(at, at + text.length)}</mark>
      {line.slice(at + text.length)}
    </>
  );
}
