import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { ViewProps } from "../app";
import { type ApiError, type Disk, type DiskEntry, type Pruned, send } from "../api";
import { bytes, when } from "../format";
import { language, t, type Word } from "../i18n";
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
          // What bld itself needs is there from the beginning.
          all.entries.every((entry) => entry.kind === "internal") ? (
            <Empty text={t("noDisk")} type="bld build -t hello ." />
          ) : (
            <>
              <Facts
                facts={[
                  [t("total"), bytes(all.total)],
                  [t("reclaimable"), <Colour key="free" of="free" text={bytes(all.reclaimable)} />],
                  ...all.kinds.map((kind): [string, ComponentChildren] => [
                    kind.kind,
                    <Colour key={kind.kind} of={colour(kind.kind)} text={`${bytes(kind.size)} (${kind.count})`} />,
                  ]),
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

function colour(kind: string): string {
  return `kind-${kind.replace(/\W/g, "-")}`;
}

/** How something is drawn below, and how much it is. */
function Colour({ of, text }: { of: string; text: string }) {
  return (
    <>
      <span class={`chip ${of}`} aria-hidden="true" /> {text}
    </>
  );
}

const [WIDTH, HEIGHT] = [1000, 320];

function Tree({ entries }: { entries: DiskEntry[] }) {
  const boxes = treemap(entries, (entry) => entry.size, WIDTH, HEIGHT);
  return (
    <svg class="treemap" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={t("disk")}>
      {boxes.map(({ item, x, y, width, height }) => (
        <g key={item.id} class={`${colour(item.kind)} ${item.inUse ? "" : "free"}`}>
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

/** Ages in seconds. */
const AGES: [Word, number][] = [
  ["anyAge", 0],
  ["anHour", 3600],
  ["aDay", 86_400],
  ["aWeek", 7 * 86_400],
  ["aMonth", 30 * 86_400],
];

/** Amounts in bytes. */
const AMOUNTS = [0, 100e6, 1e9, 5e9, 10e9, 50e9];

/** What would go is shown before it goes. */
function Prune({ close, done }: { close: () => void; done: (total: number) => void }) {
  const [all, setAll] = useState(false);
  const [age, setAge] = useState(0);
  const [keep, setKeep] = useState(0);
  const [error, setError] = useState<ApiError | null>(null);
  const wish = { all, ...(age && { unusedSeconds: age }), ...(keep && { keepBytes: keep }) };
  const query = new URLSearchParams(Object.entries(wish).map(([name, value]) => [name, String(value)]));
  const plan = useDocument<Pruned>(`/disk/plan?${query}`);
  const entries = plan.data?.entries ?? [];
  const prune = () => send("POST", "/disk/prune", wish).then((pruned) => done((pruned as Pruned).total), setError);
  return (
    <Dialog title={t("prunePlan")} onClose={close}>
      <div class="tools">
        <label>
          {t("pruneAge")}{" "}
          <select name="age" value={age} onChange={(event) => setAge(Number(event.currentTarget.value))}>
            {AGES.map(([word, seconds]) => (
              <option key={word} value={seconds}>
                {t(word)}
              </option>
            ))}
          </select>
        </label>
        <label>
          {t("pruneKeep")}{" "}
          <select name="keep" value={keep} onChange={(event) => setKeep(Number(event.currentTarget.value))}>
            {AMOUNTS.map((amount) => (
              <option key={amount} value={amount}>
                {amount ? bytes(amount) : t("nothing")}
              </option>
            ))}
          </select>
        </label>
        <label>
          <input type="checkbox" checked={all} onChange={(event) => setAll(event.currentTarget.checked)} /> {t("pruneAll")}
        </label>
      </div>
      {error && <Failure error={error} />}
      <div class="plan">
        <Ready of={plan}>{() => (entries.length === 0 ? <p>{t("pruneNothing")}</p> : <Entries entries={entries} />)}</Ready>
      </div>
      <div class="actions">
        <button type="button" onClick={close}>
          {t("cancel")}
        </button>
        <button type="button" class="danger" disabled={entries.length === 0} onClick={prune}>
          {t("pruneDo", bytes(plan.data?.total ?? 0))}
        </button>
      </div>
    </Dialog>
  );
}
