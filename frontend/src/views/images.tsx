import { useState } from "preact/hooks";
import type { ViewProps } from "../app";
import { type ImageRow, part } from "../api";
import { bytes, short, when } from "../format";
import { language, t } from "../i18n";
import { useDocument } from "../live";
import { Empty, Ready, Table } from "../parts";
import { go, set } from "../router";

export function Images({ query }: ViewProps) {
  const images = useDocument<ImageRow[]>("/images", "images");
  const filter = query.get("filter") ?? "";
  const wanted = filter.toLowerCase();
  const [chosen, setChosen] = useState<string[]>([]);
  const choose = (id: string) =>
    setChosen((old) => (old.includes(id) ? old.filter((one) => one !== id) : [...old.slice(-1), id]));
  return (
    <>
      <div class="head">
        <h1>{t("images")}</h1>
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
            title={t("diffHint")}
            onClick={() => go(`/diff?from=${part(chosen[0] ?? "")}&to=${part(chosen[1] ?? "")}`)}
          >
            {t("compare")}
          </button>
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
                {
                  title: t("choose"),
                  end: true,
                  show: (row) => (
                    <input
                      type="checkbox"
                      aria-label={`${t("choose")}: ${row.tags[0] ?? short(row.id)}`}
                      checked={chosen.includes(row.id)}
                      onChange={() => choose(row.id)}
                    />
                  ),
                },
              ]}
            />
          );
        }}
      </Ready>
    </>
  );
}
