import { useState } from "preact/hooks";
import type { ViewProps } from "../app";
import { type ApiError, type Disk, type DiskEntry, get, type Pruned, send } from "../api";
import { bytes, when } from "../format";
import { language, t } from "../i18n";
import { useDocument } from "../live";
import { Dialog, Empty, Facts, Failure, Ready, Table } from "../parts";
import { treemap } from "../treemap";

export function DiskPage({ readOnly }: ViewProps) {
  const disk = useDocument<Disk>("/disk", "images");
  const [pruning, setPruning] = useState(false);
  const [freed, setFreed] = useState<number | null>(null);
  return (
    <>
      <div class="head">
        <h1>{t("disk")}</h1>
        {!readOnly && (
          <button type="button" onClick={() => setPruning(true)}>
            {t("prune")}
          </button>
        )}
      </div>
      {freed !== null && <p role="status">{t("freed", bytes(freed))}</p>}
      {pruning && (
        <Prune
          close={() => setPruning(false)}
          done={(total) => {
            setPruning(false);
            setFreed(total);
            disk.again();
          }}
        />
      )}
      <Ready of={disk}>
        {(all) =>
          all.entries.length === 0 ? (
            <Empty text={t("noDisk")} type="bld build -t hello ." />
          ) : (
            <>
              <Facts
                facts={[
                  [t("total"), bytes(all.total)],
                  [t("reclaimable"), bytes(all.reclaimable)],
                  ...all.kinds.map((kind): [string, string] => [kind.kind, `${bytes(kind.size)} (${kind.count})`]),
                ]}
              />
              <Tree entries={all.entries} />
              <Entries entries={[...all.entries].sort((a, b) => b.size - a.size)} />
            </>
          )
        }
      </Ready>
    </>
  );
}

const [WIDTH, HEIGHT] = [1000, 320];

function Tree({ entries }: { entries: DiskEntry[] }) {
  const boxes = treemap(entries, (entry) => entry.size, WIDTH, HEIGHT);
  return (
    <svg class="treemap" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={t("disk")}>
      {boxes.map(({ item, x, y, width, height }) => (
        <g key={item.id} class={`kind-${item.kind.replace(/\W/g, "-")} ${item.inUse ? "in-use" : ""}`}>
          <rect x={x + 1} y={y + 1} width={Math.max(0, width - 2)} height={Math.max(0, height - 2)} rx="2">
            <title>{`${item.description || item.id}\n${item.kind} · ${bytes(item.size)}`}</title>
          </rect>
          {width > 120 && height > 36 && (
            <text x={x + 8} y={y + 18}>
              {clip(item.description || item.id, Math.floor((width - 12) / 7))}
              <tspan x={x + 8} dy="15" class="size">
                {bytes(item.size)}
              </tspan>
            </text>
          )}
        </g>
      ))}
    </svg>
  );
}

function clip(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, Math.max(1, length - 1))}…` : text;
}

function Entries({ entries }: { entries: DiskEntry[] }) {
  return (
    <Table
      label={t("disk")}
      rows={entries.slice(0, 500)}
      id={(row) => row.id}
      columns={[
        { title: t("description"), show: (row) => row.description || <code>{row.id}</code> },
        { title: t("kind"), show: (row) => row.kind, wide: true },
        { title: t("size"), show: (row) => bytes(row.size), end: true },
        { title: t("used"), show: (row) => (row.usedAt ? when(row.usedAt, language.value) : ""), end: true, wide: true },
        { title: t("status"), show: (row) => (row.inUse ? t("inUse") : ""), wide: true },
      ]}
    />
  );
}

/** What would go is shown before it goes. */
function Prune({ close, done }: { close: () => void; done: (total: number) => void }) {
  const [all, setAll] = useState(false);
  const [error, setError] = useState<ApiError | null>(null);
  const [plan, setPlan] = useState<Pruned | null>(null);
  const [asked, setAsked] = useState<boolean | null>(null);
  if (asked !== all) {
    setAsked(all);
    get<Pruned>(`/disk/plan?all=${all}`).then(setPlan, setError);
  }
  const prune = () => send("POST", "/disk/prune", { all }).then((pruned) => done((pruned as Pruned).total), setError);
  return (
    <Dialog title={t("prunePlan")} onClose={close}>
      <label>
        <input type="checkbox" checked={all} onChange={(event) => setAll(event.currentTarget.checked)} /> {t("pruneAll")}
      </label>
      {error && <Failure error={error} />}
      {plan && (plan.entries.length === 0 ? <p>{t("pruneNothing")}</p> : <Entries entries={plan.entries} />)}
      <div class="actions">
        <button type="button" onClick={close}>
          {t("cancel")}
        </button>
        <button type="button" class="danger" disabled={!plan || plan.entries.length === 0} onClick={prune}>
          {t("pruneDo", bytes(plan?.total ?? 0))}
        </button>
      </div>
    </Dialog>
  );
}
