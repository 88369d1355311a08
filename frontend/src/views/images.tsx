import type { ViewProps } from "../app";
import { type ImageRow, part } from "../api";
import { choiceColumn, Compare, useChoice } from "../choice";
import { bytes, short, when } from "../format";
import { language, t } from "../i18n";
import { useDocument } from "../live";
import { Empty, Filter, Ready, Table } from "../parts";
import { set } from "../router";

export function Images({ query }: ViewProps) {
  const images = useDocument<ImageRow[]>("/images", "images");
  const filter = query.get("filter") ?? "";
  const wanted = filter.toLowerCase();
  const choice = useChoice();
  return (
    <>
      <div class="head">
        <h1>{t("images")}</h1>
        <div class="tools">
          <Filter value={filter} to={(text) => set("filter", text)} />
          <Compare
            choice={choice}
            hint={t("diffHint")}
            to={([from, to]) => `/diff?from=${part(from ?? "")}&to=${part(to ?? "")}`}
          />
        </div>
      </div>
      <Ready of={images}>
        {(all) => {
          const rows = all.filter((row) => [row.id, ...row.tags].some((text) => text.toLowerCase().includes(wanted)));
          if (all.length === 0) return <Empty text={t("noImages")} type={"bld build -t hello .\nbld pull debian"} />;
          if (rows.length === 0) return <Empty text={t("nothingFits")} />;
          return (
            <Table
              label={t("images")}
              rows={rows}
              id={(row) => row.id}
              href={(row) => `/images/${part(row.id)}`}
              columns={[
                { title: t("tags"), show: (row) => row.tags.join(", ") || short(row.id) },
                { title: "ID", show: (row) => <code>{short(row.id)}</code>, wide: true },
                { title: t("platform"), show: (row) => row.platform, wide: true },
                { title: t("size"), show: (row) => bytes(row.size), end: true },
                { title: t("created"), show: (row) => when(row.createdAt, language.value), end: true, wide: true },
                { title: t("containers"), show: (row) => row.containers || "", end: true, wide: true },
                choiceColumn<ImageRow>(
                  choice,
                  (row) => row.id,
                  (row) => row.tags[0] ?? short(row.id),
                ),
              ]}
            />
          );
        }}
      </Ready>
    </>
  );
}
