// What several views are made of.

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { ApiError } from "./api";
import type { Loaded } from "./live";
import { t, type Word } from "./i18n";

export function Empty({ text, type }: { text: string; type?: string }) {
  return (
    <div class="empty">
      <p>{text}</p>
      {type && <pre>{type}</pre>}
    </div>
  );
}

export function Failure({ error }: { error: ApiError }) {
  return (
    <p class="failure" role="alert">
      {t("failed")}: {error.code === "unreachable" ? t("unreachable") : error.message}
    </p>
  );
}

/** What was loaded, or why there is nothing yet. */
export function Ready<T>({ of, children }: { of: Loaded<T>; children: (data: T) => ComponentChildren }) {
  if (of.data !== null) return <>{children(of.data)}</>;
  if (of.error) return <Failure error={of.error} />;
  return <p class="quiet">{t("loading")}</p>;
}

export const STATES: Record<string, Word> = {
  running: "running",
  completed: "completed",
  error: "error",
  canceled: "canceled",
  waiting: "waiting",
  cached: "cachedState",
  done: "done",
  failed: "failedState",
};

/** A state by colour, shape and word. */
export function Badge({ state, quiet }: { state: string; quiet?: boolean }) {
  const word = STATES[state];
  return (
    <span class={`badge is-${state}`}>
      <span class="mark" aria-hidden="true" />
      <span class={quiet ? "unseen" : ""}>{word ? t(word) : state}</span>
    </span>
  );
}

export interface Column<T> {
  title: string;
  show: (row: T) => ComponentChildren;
  /** Numbers and times stand on the right. */
  end?: boolean;
  /** Left out where there is little room. */
  wide?: boolean;
}

/** A table whose rows are links; arrow keys and j, k go from one to the next. */
export function Table<T>(props: {
  label: string;
  columns: Column<T>[];
  rows: T[];
  id: (row: T) => string;
  href?: (row: T) => string;
}) {
  const { columns, rows } = props;
  return (
    <div class="scroll">
      <table class="rows" aria-label={props.label}>
        <thead>
          <tr>
            {columns.map((column) => (
              <th key={column.title} scope="col" class={look(column)}>
                {column.title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={props.id(row)}>
              {columns.map((column, index) => (
                <td key={column.title} class={look(column)}>
                  {index === 0 && props.href ? (
                    <a class="row" data-row href={props.href(row)}>
                      {column.show(row)}
                    </a>
                  ) : (
                    column.show(row)
                  )}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function look<T>(column: Column<T>): string {
  return `${column.end ? "end" : ""} ${column.wide ? "wide" : ""}`.trim();
}

/** Parts of a page of which one is shown; which one is a part of the address. */
export function Tabs(props: { label: string; tabs: { id: string; title: string }[]; now: string; to: (id: string) => void }) {
  const list = useRef<HTMLDivElement>(null);
  const move = (event: KeyboardEvent) => {
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (step === 0) return;
    const index = props.tabs.findIndex((tab) => tab.id === props.now);
    const next = props.tabs[(index + step + props.tabs.length) % props.tabs.length];
    if (!next) return;
    event.preventDefault();
    props.to(next.id);
    list.current?.querySelector<HTMLElement>(`[data-tab="${next.id}"]`)?.focus();
  };
  return (
    <div class="tabs" role="tablist" aria-label={props.label} ref={list} onKeyDown={move}>
      {props.tabs.map((tab) => (
        <button
          key={tab.id}
          type="button"
          role="tab"
          id={`tab-${tab.id}`}
          data-tab={tab.id}
          aria-selected={tab.id === props.now}
          aria-controls="panel"
          tabIndex={tab.id === props.now ? 0 : -1}
          onClick={() => props.to(tab.id)}
        >
          {tab.title}
        </button>
      ))}
    </div>
  );
}

export function Panel({ tab, children }: { tab: string; children: ComponentChildren }) {
  return (
    <div class="panel" id="panel" role="tabpanel" aria-labelledby={`tab-${tab}`}>
      {children}
    </div>
  );
}

/** What is typed here, rows have to hold. */
export function Filter({ value, to }: { value: string; to: (text: string) => void }) {
  return (
    <input
      type="search"
      data-search
      aria-label={t("filter")}
      placeholder={t("filter")}
      value={value}
      onInput={(event) => to(event.currentTarget.value)}
    />
  );
}

/** Names and values. */
export function Facts({ facts }: { facts: [string, ComponentChildren][] }) {
  return (
    <dl class="facts">
      {facts
        .filter(([, value]) => value !== null && value !== "" && value !== undefined)
        .map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  );
}

/** A dialog of the browser's own, closed by Escape. */
export function Dialog(props: { title: string; onClose: () => void; children: ComponentChildren }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    dialog.current?.showModal();
  }, []);
  return (
    <dialog ref={dialog} onClose={props.onClose} aria-labelledby="dialog-title">
      <h2 id="dialog-title">{props.title}</h2>
      {props.children}
    </dialog>
  );
}

/** A button that does something at the server, and says when that fails. */
export function Action(props: {
  title: string;
  act: () => Promise<unknown>;
  sure?: string;
  danger?: boolean;
  disabled?: boolean;
}) {
  const [asking, setAsking] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const [busy, setBusy] = useState(false);
  const act = () => {
    setAsking(false);
    setBusy(true);
    setError(null);
    props.act().then(
      () => setBusy(false),
      (failed: ApiError) => {
        setBusy(false);
        setError(failed);
      },
    );
  };
  return (
    <>
      <button
        type="button"
        class={props.danger ? "danger" : ""}
        disabled={props.disabled || busy}
        onClick={() => (props.sure ? setAsking(true) : act())}
      >
        {props.title}
      </button>
      {asking && props.sure && (
        <Dialog title={props.sure} onClose={() => setAsking(false)}>
          <div class="actions">
            <button type="button" onClick={() => setAsking(false)}>
              {t("cancel")}
            </button>
            <button type="button" class="danger" onClick={act}>
              {props.title}
            </button>
          </div>
        </Dialog>
      )}
      {error && <Failure error={error} />}
    </>
  );
}
