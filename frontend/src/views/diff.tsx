import type { ViewProps } from "../app";
import { type Diff, type DiffFile, type DiffNode, part } from "../api";
import { bytes, short } from "../format";
import { t } from "../i18n";
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
          found.same ? (
            <Empty text={t("identical")} />
          ) : (
            <>
              <h2>{t("files")}</h2>
              <div class="beside">
                <ul class="files">
                  {found.files.slice(0, MOST).map((one) => (
                    <li key={one.path}>
                      <button type="button" data-row class="entry" aria-pressed={one.path === path} onClick={() => set("path", one.path)}>
                        <span class={`change is-${one.status}`}>
                          <span aria-hidden="true">{one.status === "added" ? "+" : one.status === "removed" ? "−" : "~"}</span>
                          <span class="unseen">{t(one.status)}</span>
                        </span>
                        <span class="name">{one.path}</span>
                        <span class="size">{one.changed.join(", ")}</span>
                      </button>
                    </li>
                  ))}
                  {found.files.length > MOST && <li class="quiet">{t("moreFiles", found.files.length - MOST)}</li>}
                </ul>
                <section aria-label={t("diff")}>{path && <Ready of={file}>{(one) => <File file={one.files[0]} />}</Ready>}</section>
              </div>
              <h2>{t("layers")}</h2>
              <Table
                label={t("layers")}
                rows={found.layers.map((layer, index) => ({ ...layer, index }))}
                id={(row) => String(row.index)}
                columns={[
                  { title: t("status"), show: (row) => t(row.status) },
                  { title: t("step"), show: (row) => <code>{(row.after ?? row.before)?.createdBy}</code> },
                  { title: t("before"), show: (row) => (row.before ? bytes(row.before.size) : ""), end: true },
                  { title: t("after"), show: (row) => (row.after ? bytes(row.after.size) : ""), end: true },
                ]}
              />
              {found.fields.length > 0 && (
                <>
                  <h2>{t("config")}</h2>
                  <Table
                    label={t("config")}
                    rows={found.fields}
                    id={(row) => row.path}
                    columns={[
                      { title: t("name"), show: (row) => <code>{row.path}</code> },
                      { title: t("before"), show: (row) => <code>{value(row.before)}</code> },
                      { title: t("after"), show: (row) => <code>{value(row.after)}</code> },
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
    const [before, after] = [file.before && of(file.before), file.after && of(file.after)];
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
      <h3>{file.path}</h3>
      <table class="rows">
        <tbody>
          {row("mode", (node) => node.mode)}
          {row("uid:gid", (node) => `${node.uid}:${node.gid}`)}
          {row(t("size"), (node) => bytes(node.size))}
        </tbody>
      </table>
      {file.text?.kind === "binary" && <p class="quiet">{t("binary")}</p>}
      {file.text?.kind === "large" && <p class="quiet">{t("large")}</p>}
      {file.text?.diff && (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by keys
        <pre class="document" tabIndex={0}>
          {file.text.diff.split("\n").map((line, index) => (
            <span key={index} class={line.startsWith("+") ? "plus" : line.startsWith("-") ? "minus" : line.startsWith("@") ? "at" : ""}>
              {`${line}\n`}
            </span>
          ))}
        </pre>
      )}
      {file.text?.omittedLines ? <p class="quiet">{t("moreLines", file.text.omittedLines)}</p> : null}
    </>
  );
}
