import type { ViewProps } from "../app";
import { type Build, part, type Trigger } from "../api";
import { choiceColumn, Compare, useChoice } from "../choice";
import { duration, when } from "../format";
import { language, t } from "../i18n";
import { useClock, useDocument } from "../live";
import { Badge, Empty, Filter, Ready, Table } from "../parts";
import { set } from "../router";

export function Builds({ query }: ViewProps) {
  const filter = query.get("filter") ?? "";
  const builds = useDocument<Build[]>(filter ? `/builds?filter=${part(filter)}` : "/builds", "builds", true);
  const choice = useChoice();
  const now = useClock(builds.data?.some((row) => row.status === "running") ?? false);
  // The older one comes first.
  const age = (ref: string) => builds.data?.findIndex((row) => row.ref === ref) ?? 0;
  return (
    <>
      <div class="head">
        <h1>{t("builds")}</h1>
        <div class="tools">
          <Filter value={filter} to={(text) => set("filter", text)} />
          <Compare
            choice={choice}
            hint={t("compareHint")}
            to={(refs) => `/compare/${[...refs].sort((a, b) => age(b) - age(a)).map(part).join("/")}`}
          />
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
                { title: t("took"), show: (row) => duration(sofar(row, now)), end: true },
                { title: t("started"), show: (row) => when(row.createdAt, language.value), end: true, wide: true },
                { title: t("names"), show: (row) => row.names.map(familiar).join(", "), wide: true },
                { title: t("trigger"), show: (row) => row.trigger && <Asked trigger={row.trigger} />, wide: true },
                choiceColumn<Build>(
                  choice,
                  (row) => row.ref,
                  (row) => `${row.name} ${row.ref}`,
                ),
              ]}
            />
          )
        }
      </Ready>
    </>
  );
}

function sofar(build: Build, now: number): number {
  return build.status === "running" ? Math.max(build.durationMs, now - Date.parse(build.createdAt)) : build.durationMs;
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
