import { useState } from "preact/hooks";
import type { ViewProps } from "../app";
import { type Build, part, type Trigger } from "../api";
import { duration, when } from "../format";
import { language, t } from "../i18n";
import { useDocument } from "../live";
import { Badge, Empty, Ready, Table } from "../parts";
import { go, set } from "../router";

export function Builds({ query }: ViewProps) {
  const filter = query.get("filter") ?? "";
  const builds = useDocument<Build[]>(`/builds?filter=${part(filter)}`, "builds");
  const [chosen, setChosen] = useState<string[]>([]);
  const choose = (ref: string) =>
    setChosen((old) => (old.includes(ref) ? old.filter((one) => one !== ref) : [...old.slice(-1), ref]));
  return (
    <>
      <div class="head">
        <h1>{t("builds")}</h1>
        <div class="tools">
          <input
            type="search"
            data-search
            aria-label={t("filter")}
            placeholder={t("filter")}
            value={filter}
            onInput={(event) => set("filter", event.currentTarget.value)}
          />
          <button
            type="button"
            disabled={chosen.length !== 2}
            title={t("compareHint")}
            onClick={() => go(`/compare/${chosen.map(part).reverse().join("/")}`)}
          >
            {t("compare")}
          </button>
        </div>
      </div>
      <Ready of={builds}>
        {(rows) =>
          rows.length === 0 ? (
            filter ? (
              <Empty text={t("nothingFits")} />
            ) : (
              <Empty text={t("noBuilds")} type="bld build -t hello ." />
            )
          ) : (
            <Table
              label={t("builds")}
              rows={rows}
              id={(row) => row.ref}
              href={(row) => `/builds/${part(row.ref)}`}
              columns={[
                { title: t("name"), show: (row) => row.name || row.ref },
                { title: t("status"), show: (row) => <Badge state={row.status} /> },
                { title: t("steps"), show: (row) => `${row.steps.completed}/${row.steps.total}`, end: true, wide: true },
                { title: t("cached"), show: share, end: true, wide: true },
                { title: t("took"), show: (row) => duration(row.durationMs), end: true },
                { title: t("started"), show: (row) => when(row.createdAt, language.value), end: true, wide: true },
                { title: t("names"), show: (row) => row.names.map(familiar).join(", "), wide: true },
                { title: t("trigger"), show: (row) => row.trigger && <Asked trigger={row.trigger} />, wide: true },
                {
                  title: t("choose"),
                  end: true,
                  show: (row) => (
                    <input
                      type="checkbox"
                      aria-label={`${t("choose")}: ${row.name} ${row.ref}`}
                      checked={chosen.includes(row.ref)}
                      onChange={() => choose(row.ref)}
                    />
                  ),
                },
              ]}
            />
          )
        }
      </Ready>
    </>
  );
}

/** Who asked for a build; the words and the place are a glance away. */
function Asked({ trigger }: { trigger: Trigger }) {
  return (
    <span title={`${trigger.directory}$ ${words(trigger)}`}>
      {trigger.user} <code class="clip">{words(trigger)}</code>
    </span>
  );
}

/** A command line as it can be typed again, but for what is hidden. */
export function words({ command }: Trigger): string {
  const quoted = (word: string) => (/^[\w\-./:=,@%+]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);
  return command.map(quoted).join(" ");
}

function share(build: Build) {
  const { total, cached } = build.steps;
  return total === 0 ? "" : `${Math.round((cached * 100) / total)} %`;
}

export function familiar(name: string): string {
  return name.replace(/^docker\.io\/(library\/)?/, "");
}
