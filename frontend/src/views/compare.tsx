import type { ViewProps } from "../app";
import { type Build, part } from "../api";
import { useBuild } from "../build/live";
import { pair, type Step, took } from "../build/model";
import { hitText, missText } from "../build/reason";
import { duration, when } from "../format";
import { language, t } from "../i18n";
import { useDocument } from "../live";
import { Badge, Ready, Table } from "../parts";

export function Compare({ parts }: ViewProps) {
  const [before, after] = [parts[1] ?? "", parts[2] ?? ""];
  return (
    <>
      <h1>{t("compareBuilds")}</h1>
      <div class="two">
        <Side title={t("before")} reference={before} />
        <Side title={t("after")} reference={after} />
      </div>
      <Pairs before={before} after={after} />
    </>
  );
}

function Side({ title, reference }: { title: string; reference: string }) {
  const build = useDocument<Build>(`/builds/${part(reference)}`, "builds");
  return (
    <section aria-label={title}>
      <h2>{title}</h2>
      <Ready of={build}>
        {(record) => (
          <p class="line-of-facts">
            <a href={`/builds/${part(record.ref)}`}>{record.name}</a>
            <Badge state={record.status} />
            <span>{duration(record.durationMs)}</span>
            <span>{when(record.createdAt, language.value)}</span>
          </p>
        )}
      </Ready>
    </section>
  );
}

function Pairs({ before, after }: { before: string; after: string }) {
  const [one, other] = [useBuild(before), useBuild(after)];
  const rows = pair(one.model.real(), other.model.real());
  const cell = (step: Step | null, now: number) =>
    step ? (
      <>
        <Badge state={step.state} /> {step.state !== "cached" && duration(took(step, now))}
      </>
    ) : (
      "–"
    );
  return (
    <Table
      label={t("steps")}
      rows={rows}
      id={(row) => `${row.before?.id}-${row.after?.id}`}
      columns={[
        { title: t("step"), show: (row) => (row.after ?? row.before)?.name ?? "" },
        { title: t("before"), show: (row) => cell(row.before, one.now) },
        { title: t("after"), show: (row) => cell(row.after, other.now) },
        {
          title: t("why"),
          wide: true,
          show: ({ after }) => (after?.miss ? missText(after.miss) : after?.hit != null ? hitText(after.hit) : ""),
        },
      ]}
    />
  );
}
