import { useState } from "preact/hooks";
import type { ViewProps } from "../app";
import { type FileEntry, type Image, type Layer, type Packages, part, send } from "../api";
import { bytes, short, when } from "../format";
import { language, t } from "../i18n";
import { useDocument } from "../live";
import { Action, Empty, Filter, Panel, Ready, Table, Tabs } from "../parts";
import { go, set } from "../router";

export function ImagePage({ parts, query, readOnly }: ViewProps) {
  const id = parts[1] ?? "";
  const image = useDocument<Image>(`/images/${part(id)}`, "images");
  const tab = query.get("tab") ?? "layers";
  return (
    <Ready of={image}>
      {(one) => (
        <>
          <div class="head">
            <div>
              <h1>{one.tags.join(", ") || short(one.id)}</h1>
              <p class="line-of-facts">
                <code>{short(one.id)}</code>
                <span>{one.platform}</span>
                <span>{bytes(one.size)}</span>
                <span>{when(one.createdAt, language.value)}</span>
                <span title={t("wastedHint")}>
                  {t("wasted")} {bytes(one.wasted)}
                </span>
              </p>
            </div>
            {!readOnly && (
              <Action
                title={t("remove")}
                sure={t("sure", one.tags[0] ?? short(one.id))}
                danger
                act={() => send("DELETE", `/images/${part(one.tags[0] ?? one.id)}`).then(() => go("/images"))}
              />
            )}
          </div>
          <Tabs
            label={t("image")}
            now={tab}
            to={(next) => set("tab", next)}
            tabs={[
              { id: "layers", title: t("layers") },
              { id: "waste", title: t("wasted") },
              { id: "packages", title: t("packages") },
              { id: "history", title: t("history") },
              { id: "config", title: t("config") },
            ]}
          />
          <Panel tab={tab}>
            {tab === "layers" && <Layers image={one} query={query} />}
            {tab === "waste" && <Waste image={one} />}
            {tab === "packages" && <Contents image={one} />}
            {tab === "history" && <Past image={one} />}
            {tab === "config" && (
              // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by keys
              <pre class="document" tabIndex={0}>
                {JSON.stringify(one.config, null, 2)}
              </pre>
            )}
          </Panel>
        </>
      )}
    </Ready>
  );
}

function Layers({ image, query }: { image: Image; query: URLSearchParams }) {
  const chosen = Math.min(Number(query.get("layer") ?? image.layers.length - 1), image.layers.length - 1);
  const largest = Math.max(1, ...image.layers.map((layer) => layer.size));
  return (
    <div class="beside">
      <ol class="layers" aria-label={t("layers")}>
        {image.layers.map((layer, index) => (
          <li key={`${layer.diffId}-${index}`}>
            <button
              type="button"
              data-row
              aria-pressed={index === chosen}
              onClick={() => set("layer", String(index))}
              title={layer.createdBy}
            >
              <span class="what">{layer.createdBy || short(layer.diffId)}</span>
              <span class="gauge" aria-hidden="true">
                <span style={{ width: `${(layer.size * 100) / largest}%` }} />
              </span>
              <span class="facts-line">
                {bytes(layer.size)}
                <Counts layer={layer} />
              </span>
            </button>
          </li>
        ))}
      </ol>
      <section class="tree" aria-label={t("files")}>
        {image.layers[chosen] && <Directory key={chosen} image={image.id} layer={chosen} path="/" open />}
      </section>
    </div>
  );
}

function Counts({ layer }: { layer: Layer }) {
  const all: [string, string, number][] = [
    ["+", t("adds"), layer.added.files],
    ["~", t("replaces"), layer.replaced.files],
    ["−", t("removes"), layer.removed.files],
  ];
  return (
    <>
      {all
        .filter(([, , count]) => count > 0)
        .map(([sign, word, count]) => (
          <span key={sign} title={word}>
            {sign}
            {count}
          </span>
        ))}
      {layer.hidden > 0 && (
        <span title={t("hides")} class="warn">
          {t("hides")} {bytes(layer.hidden)}
        </span>
      )}
    </>
  );
}

/** What a layer has in one directory; deeper ones are asked for when they are opened. */
function Directory({ image, layer, path, open }: { image: string; layer: number; path: string; open?: boolean }) {
  const entries = useDocument<FileEntry[]>(
    open ? `/images/${part(image)}/layers/${layer}/files?path=${part(path)}` : null,
  );
  if (!open) return null;
  return (
    <Ready of={entries}>
      {(list) => (
        <ul class="files">
          {list.map((entry) => (
            <Entry key={entry.name} image={image} layer={layer} path={path} entry={entry} />
          ))}
        </ul>
      )}
    </Ready>
  );
}

function Entry({ image, layer, path, entry }: { image: string; layer: number; path: string; entry: FileEntry }) {
  const [open, setOpen] = useState(false);
  const whole = path === "/" ? `/${entry.name}` : `${path}/${entry.name}`;
  const isDir = entry.type === "dir" && entry.change !== "removed";
  const line = (
    <>
      <span class={`change is-${entry.change}`} title={t(entry.change)}>
        <span aria-hidden="true">{{ added: "+", changed: "~", removed: "−", same: " " }[entry.change]}</span>
        <span class="unseen">{t(entry.change)}</span>
      </span>
      <span class="name">
        {entry.name}
        {isDir ? "/" : ""}
      </span>
      {entry.hides > 0 && (
        <span class="size warn" title={t("coversHint")}>
          {t("covers", bytes(entry.hides))}
        </span>
      )}
      <span class="size">{entry.size > 0 ? bytes(entry.size) : ""}</span>
    </>
  );
  return (
    <li>
      {isDir ? (
        <button type="button" data-row class="entry" aria-expanded={open} onClick={() => setOpen(!open)}>
          {line}
        </button>
      ) : (
        <div class="entry">{line}</div>
      )}
      {isDir && <Directory image={image} layer={layer} path={whole} open={open} />}
    </li>
  );
}

function Waste({ image }: { image: Image }) {
  return (
    <>
      <p class="quiet">
        {t("wastedHint")}: {bytes(image.wasted)}
      </p>
      {image.worst.length > 0 && (
        <Table
          label={t("worst")}
          rows={image.worst}
          id={(row) => row.path}
          columns={[
            { title: t("worst"), show: (row) => <code>{row.path}</code> },
            { title: t("wasted"), show: (row) => bytes(row.wasted), end: true },
            { title: t("layers"), show: (row) => row.layers.map((layer) => layer + 1).join(", "), end: true },
          ]}
        />
      )}
      <Table
        label={t("largest")}
        rows={image.largest}
        id={(row) => row.path}
        columns={[
          { title: t("largest"), show: (row) => <code>{row.path}</code> },
          { title: t("size"), show: (row) => bytes(row.size), end: true },
          { title: t("layers"), show: (row) => row.layer + 1, end: true },
        ]}
      />
    </>
  );
}

/** The packages in an image, as its files name them. */
function Contents({ image }: { image: Image }) {
  const document = useDocument<Packages>(`/images/${part(image.id)}/packages`);
  const [text, setText] = useState("");
  return (
    <Ready of={document}>
      {({ packages }) => {
        // The first one is the image.
        const all = packages.slice(1);
        if (all.length === 0) return <Empty text={t("noPackages")} />;
        const wanted = text.toLowerCase();
        const rows = all.filter((one) => `${one.name} ${one.versionInfo}`.toLowerCase().includes(wanted));
        return (
          <>
            <div class="tools">
              <Filter value={text} to={setText} />
              <span class="quiet" aria-live="polite">
                {rows.length}/{all.length}
              </span>
            </div>
            <Table
              label={t("packages")}
              rows={rows.slice(0, 2000)}
              id={(row) => row.SPDXID}
              columns={[
                { title: t("name"), show: (row) => row.name },
                { title: t("version"), show: (row) => <code>{row.versionInfo}</code> },
                { title: t("license"), show: (row) => (row.licenseDeclared === "NOASSERTION" ? "" : row.licenseDeclared), wide: true },
                { title: t("foundIn"), show: (row) => <code>{row.sourceInfo?.replace(/^found in /, "")}</code>, wide: true },
              ]}
            />
          </>
        );
      }}
    </Ready>
  );
}

function Past({ image }: { image: Image }) {
  return (
    <Table
      label={t("history")}
      rows={image.history.map((entry, index) => ({ ...entry, index }))}
      id={(row) => String(row.index)}
      columns={[
        { title: t("step"), show: (row) => <code>{row.createdBy}</code> },
        { title: t("size"), show: (row) => bytes(row.size), end: true },
        { title: t("created"), show: (row) => (row.createdAt ? when(row.createdAt, language.value) : ""), end: true, wide: true },
      ]}
    />
  );
}

