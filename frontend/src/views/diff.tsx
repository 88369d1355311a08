import type { ViewProps } from "../app";
import { type Diff, type DiffFile, type DiffNode, part } from "../api";
import { bytes, short, when } from "../format";
import { language, t } from "../i18n";
import { useDocument } from "../live";
import { Empty, Ready, Table } from "../parts";
import { set } from "../router";

/** Files that are listed at most: two images may have nothing in common. */
const MOST = 2000;

export function DiffPage({ query }: ViewProps) {
  const [from, to] = [query.get("from") ?? "", query.get("to") ?? ""];
  const path = query.get("path");
  const both = from && to;
  const pair = `from=${part(from)}&to=${part(to)}`;
  const diff = useDocument<Diff>(both ? `/diff?${pair}` : null);
  const file = useDocument<Diff>(both && path ? `/diff?${pair}&path=${part(path)}` : null);
  if (!both) return <Empty text={t("diffHint")} />;
  return (
    <>
      <h1>{t("diff")}</h1>
      <p class="line-of-facts">
        <a href={`/images/${part(from)}`}>{short(from)}</a> → <a href={`/images/${part(to)}`}>{short(to)}</a>
      </p>
      <Ready of={diff}>
        {(found) =>
          found.Same ? (
            <Empty text={t("identical")} />
          ) : (
            <>
              <h2>{t("files")}</h2>
              <div class="beside">
                <ul class="files">
                  {found.Files.slice(0, MOST).map((one) => (
                    <li key={one.Path}>
                      <button type="button" data-row class="entry" aria-pressed={one.Path === path} onClick={() => set("path", one.Path)}>
                        <span class={`change is-${one.Status}`}>
                          <span aria-hidden="true">{one.Status === "added" ? "+" : one.Status === "removed" ? "−" : "~"}</span>
                          <span class="unseen">{t(one.Status)}</span>
                        </span>
                        <span class="name">{one.Path}</span>
                        <span class="size">{one.Changed.join(", ")}</span>
                      </button>
                    </li>
                  ))}
                  {found.Files.length > MOST && <li class="quiet">{t("moreFiles", found.Files.length - MOST)}</li>}
                </ul>
                <section aria-label={t("diff")}>{path && <Ready of={file}>{(one) => <File file={one.Files[0]} />}</Ready>}</section>
              </div>
              <h2>{t("layers")}</h2>
              <Table
                label={t("layers")}
                rows={found.Layers.map((layer, index) => ({ ...layer, index }))}
                id={(row) => String(row.index)}
                columns={[
                  { title: t("status"), show: (row) => t(row.Status) },
                  { title: t("step"), show: (row) => <code>{(row.After ?? row.Before)?.CreatedBy}</code> },
                  { title: t("before"), show: (row) => (row.Before ? bytes(row.Before.Size) : ""), end: true },
                  { title: t("after"), show: (row) => (row.After ? bytes(row.After.Size) : ""), end: true },
                ]}
              />
              {found.Fields.length > 0 && (
                <>
                  <h2>{t("config")}</h2>
                  <Table
                    label={t("config")}
                    rows={found.Fields}
                    id={(row) => row.Path}
                    columns={[
                      { title: t("name"), show: (row) => <code>{row.Path}</code> },
                      { title: t("before"), show: (row) => <code>{value(row.Before)}</code> },
                      { title: t("after"), show: (row) => <code>{value(row.After)}</code> },
                    ]}
                  />
                </>
              )}
            </>
          )
        }
      </Ready>
    </>
  );
}

function value(field: unknown): string {
  return field === null || field === undefined ? "–" : typeof field === "string" ? field : JSON.stringify(field);
}

function File({ file }: { file: DiffFile | undefined }) {
  if (!file) return null;
  const row = (name: string, of: (node: DiffNode) => string) => {
    const [before, after] = [file.Before && of(file.Before), file.After && of(file.After)];
    return before === after ? null : (
      <tr key={name}>
        <th scope="row">{name}</th>
        <td>{before ?? "–"}</td>
        <td>{after ?? "–"}</td>
      </tr>
    );
  };
  return (
    <>
      <h3>{file.Path}</h3>
      <table class="rows">
        <tbody>
          {row("mode", (node) => node.Mode)}
          {row("uid:gid", (node) => `${node.Uid}:${node.Gid}`)}
          {row(t("size"), (node) => bytes(node.Size))}
          {row(t("modified"), (node) => when(node.ModTime, language.value))}
          {row(t("target"), (node) => node.Target ?? "")}
        </tbody>
      </table>
      {file.Text?.Kind === "binary" && <p class="quiet">{t("binary")}</p>}
      {file.Text?.Kind === "large" && <p class="quiet">{t("large")}</p>}
      {file.Text?.Diff && (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by keys
        <pre class="document" tabIndex={0}>
          {file.Text.Diff.split("\n").map((line, index) => (
            <span key={index} class={line.startsWith("+") ? "plus" : line.startsWith("-") ? "minus" : line.startsWith("@") ? "at" : ""}>
              {`${line}\n`}
            </span>
          ))}
        </pre>
      )}
      {file.Text?.OmittedLines ? <p class="quiet">{t("moreLines", file.Text.OmittedLines)}</p> : null}
    </>
  );
}
