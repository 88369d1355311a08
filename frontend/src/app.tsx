import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { About } from "./api";
import { language, speak, t, type Word } from "./i18n";
import { reachable, useDocument, watch } from "./live";
import { Dialog, Empty } from "./parts";
import { go, place } from "./router";
import { BuildPage } from "./views/build";
import { Builds } from "./views/builds";
import { Compare } from "./views/compare";
import { ContainerPage } from "./views/container";
import { Containers } from "./views/containers";
import { DiffPage } from "./views/diff";
import { DiskPage } from "./views/disk";
import { ImagePage } from "./views/image";
import { Images } from "./views/images";
import { Networks, Volumes } from "./views/machine";

const PLACES: { id: Word; key: string; path: string }[] = [
  { id: "builds", key: "b", path: "/builds" },
  { id: "images", key: "i", path: "/images" },
  { id: "containers", key: "c", path: "/containers" },
  { id: "volumes", key: "v", path: "/volumes" },
  { id: "networks", key: "n", path: "/networks" },
  { id: "disk", key: "d", path: "/disk" },
];

export interface ViewProps {
  parts: string[];
  query: URLSearchParams;
  readOnly: boolean;
}

function view(parts: string[]): ComponentType<ViewProps> {
  const [first, second] = parts;
  switch (first) {
    case undefined:
    case "builds":
      return second ? BuildPage : Builds;
    case "compare":
      return Compare;
    case "images":
      return second ? ImagePage : Images;
    case "diff":
      return DiffPage;
    case "containers":
      return second ? ContainerPage : Containers;
    case "volumes":
      return Volumes;
    case "networks":
      return Networks;
    case "disk":
      return DiskPage;
    default:
      return () => <Empty text={t("notFound")} />;
  }
}

export function App() {
  const about = useDocument<About>("");
  const [help, setHelp] = useState(false);
  useEffect(watch, []);
  useKeys(() => setHelp(true));
  const { parts, query } = place.value;
  const here = parts[0] === "compare" ? "builds" : parts[0] === "diff" ? "images" : (parts[0] ?? "builds");
  const View = view(parts);
  useEffect(() => {
    const found = PLACES.find((one) => one.id === here);
    document.title = found ? `${parts[1] ?? t(found.id)} · bld` : "bld";
  });
  return (
    <>
      <a class="skip" href="#main">
        {t("skip")}
      </a>
      <header>
        <a class="brand" href="/builds" aria-label="bld">
          <img src="/icon.svg" alt="" width="20" height="20" />
          bld
        </a>
        <nav aria-label={t("main")}>
          {PLACES.map((one) => (
            <a key={one.id} href={one.path} aria-current={one.id === here ? "page" : undefined}>
              {t(one.id)}
            </a>
          ))}
        </nav>
        <div class="side">
          {about.data?.readOnly && <span class="tag">{t("readOnly")}</span>}
          <label>
            <span class="unseen">{t("language")}</span>
            <select value={language.value} onChange={(event) => speak(event.currentTarget.value as "en" | "ja")}>
              <option value="en">English</option>
              <option value="ja">日本語</option>
            </select>
          </label>
          <button type="button" onClick={() => setHelp(true)} aria-label={t("keys")}>
            ?
          </button>
        </div>
      </header>
      {!reachable.value && (
        <p class="failure" role="alert">
          {t("unreachable")}
        </p>
      )}
      <main id="main" tabIndex={-1}>
        <View key={parts.join("/")} parts={parts} query={query} readOnly={about.data?.readOnly ?? false} />
      </main>
      <footer>
        {about.data && `bld ${about.data.version} · ${about.data.hostname} · ${about.data.root}`}
      </footer>
      {help && (
        <Dialog title={t("keyHelp")} onClose={() => setHelp(false)}>
          <dl class="keys">
            <dt>
              <kbd>g</kbd> {PLACES.map((one) => <kbd key={one.key}>{one.key}</kbd>)}
            </dt>
            <dd>{t("keyGo")}</dd>
            <dt>
              <kbd>j</kbd> <kbd>k</kbd>
            </dt>
            <dd>{t("keyMove")}</dd>
            <dt>
              <kbd>Enter</kbd>
            </dt>
            <dd>{t("keyOpen")}</dd>
            <dt>
              <kbd>/</kbd>
            </dt>
            <dd>{t("keySearch")}</dd>
            <dt>
              <kbd>[</kbd> <kbd>]</kbd>
            </dt>
            <dd>{t("keyTabs")}</dd>
            <dt>
              <kbd>?</kbd>
            </dt>
            <dd>{t("keyHelpKey")}</dd>
          </dl>
          <form method="dialog">
            <button type="submit">{t("close")}</button>
          </form>
        </Dialog>
      )}
    </>
  );
}

/** Keys that work everywhere but where something is typed. */
function useKeys(help: () => void) {
  useEffect(() => {
    let before = "";
    const pressed = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      const typing = target.closest("input, select, textarea, dialog, .terminal");
      if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
      const last = before;
      before = event.key;
      const found = last === "g" ? PLACES.find((one) => one.key === event.key) : undefined;
      if (found) go(found.path);
      else if (event.key === "?") help();
      else if (event.key === "/") focus(document.querySelector<HTMLElement>("[data-search]"));
      else if (event.key === "j" || event.key === "k") move(event.key === "j" ? 1 : -1);
      else if (event.key === "[" || event.key === "]") tab(event.key === "]" ? 1 : -1);
      else return;
      event.preventDefault();
    };
    document.addEventListener("keydown", pressed);
    return () => document.removeEventListener("keydown", pressed);
  }, []);
}

function focus(element: HTMLElement | null | undefined) {
  element?.focus();
}

function move(by: number) {
  const rows = [...document.querySelectorAll<HTMLElement>("[data-row]")];
  const index = rows.indexOf(document.activeElement as HTMLElement);
  focus(rows[index < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(Math.max(index + by, 0), rows.length - 1)]);
}

function tab(by: number) {
  const tabs = [...document.querySelectorAll<HTMLElement>("[role=tab]")];
  const index = tabs.findIndex((one) => one.getAttribute("aria-selected") === "true");
  tabs[(index + by + tabs.length) % tabs.length]?.click();
}
