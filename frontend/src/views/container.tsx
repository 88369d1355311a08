import { lazy, Suspense } from "preact/compat";
import { useEffect, useReducer, useRef, useState } from "preact/hooks";
import type { ViewProps } from "../app";
import { type Container, listen, part, type Stats, send } from "../api";
import { Chart } from "../chart";
import { bytes, short, when } from "../format";
import { language, t, type Word } from "../i18n";
import { useDocument } from "../live";
import { LogView } from "../log";
import { Pace } from "../pace";
import { Action, Badge, Facts, Panel, Ready, Tabs } from "../parts";
import { go, set } from "../router";

const Terminal = lazy(() => import("../terminal"));

export function ContainerPage({ parts, query, readOnly }: ViewProps) {
  const name = parts[1] ?? "";
  const container = useDocument<Container>(`/containers/${part(name)}`, "containers");
  const tab = query.get("tab") ?? "output";
  return (
    <Ready of={container}>
      {(one) => (
        <>
          <div class="head">
            <div>
              <h1>{one.name}</h1>
              <p class="line-of-facts">
                <Badge state={one.status} />
                {one.status === "exited" && <span>({one.exitCode})</span>}
                {one.health && <span>{one.health}</span>}
                <a href={`/images/${part(one.imageId)}`}>{one.image}</a>
                <code>{short(one.id)}</code>
              </p>
            </div>
            {!readOnly && <Life container={one} again={container.again} whole />}
          </div>
          {one.error && <p class="failure">{one.error}</p>}
          <Tabs
            label={t("containers")}
            now={tab}
            to={(next) => set("tab", next)}
            tabs={[
              { id: "output", title: t("output") },
              { id: "use", title: t("use") },
              ...(readOnly ? [] : [{ id: "terminal", title: t("terminal") }]),
              { id: "config", title: t("config") },
            ]}
          />
          <Panel tab={tab}>
            {tab === "output" && <Output key={one.startedAt} container={one} />}
            {tab === "use" && (isRunning(one) ? <Use container={one} /> : <p class="quiet">{t("notRunning")}</p>)}
            {tab === "terminal" &&
              !readOnly &&
              (isRunning(one) ? (
                <Suspense fallback={<p class="quiet">{t("loading")}</p>}>
                  <Terminal container={one.name} />
                </Suspense>
              ) : (
                <p class="quiet">{t("notRunning")}</p>
              ))}
            {tab === "config" && <Config container={one} />}
          </Panel>
        </>
      )}
    </Ready>
  );
}

function isRunning(container: Container): boolean {
  return container.status === "running";
}

/** Where the ports of the host lead, as `ps` has it. */
export function ports({ ports }: Container): string[] {
  return ports.map((one) => `${one.host}->${one.port}/${one.protocol.toLowerCase()}`);
}

/** What can be done with a container. */
export function Life({ container, again, whole }: { container: Container; again: () => void; whole?: boolean }) {
  const act = (verb: Word) => (
    <Action
      key={verb}
      title={t(verb)}
      act={() => send("POST", `/containers/${part(container.id)}/${verb}`).then(again)}
    />
  );
  return (
    <div class="actions">
      {isRunning(container) ? (whole ? [act("stop"), act("restart"), act("kill")] : [act("stop")]) : [act("start")]}
      {whole && (
        <Action
          title={t("remove")}
          sure={t("sure", container.name)}
          danger
          act={() => send("DELETE", `/containers/${part(container.id)}?force=true`).then(() => go("/containers"))}
        />
      )}
    </div>
  );
}

function Output({ container }: { container: Container }) {
  const lines = useRef<string[]>([]);
  const [version, redraw] = useReducer((count: number) => count + 1, 0);
  useEffect(() => {
    const anew = () => {
      lines.current = [];
    };
    anew();
    const pace = new Pace(() => redraw(undefined));
    const line = ({ text }: { text: string }) => {
      lines.current.push(text.replace(/\r?\n$/, ""));
      pace.ask();
    };
    const close = listen(`/containers/${part(container.id)}/logs`, { line }, anew);
    return () => {
      close();
      pace.stop();
    };
  }, [container.id]);
  return <LogView lines={lines.current} version={version} label={t("output")} live={isRunning(container)} end />;
}

/** Seconds that are shown. */
const SPAN = 120;

function Use({ container }: { container: Container }) {
  const [all, setAll] = useState<Stats[]>([]);
  useEffect(
    () =>
      listen(`/containers/${part(container.id)}/stats`, {
        stats: (now: Stats) => setAll((old) => [...old.slice(1 - SPAN), now]),
      }),
    [container.id],
  );
  const rate = (of: (stats: Stats) => number) =>
    all.map((now, index) => Math.max(0, of(now) - of(all[Math.max(0, index - 1)] ?? now)));
  const per = (value: number) => `${bytes(value)}/s`;
  const percent = (value: number) => `${value.toFixed(1)} %`;
  return (
    <div class="charts">
      <Chart title={t("cpu")} values={all.map((one) => one.cpuPercent)} span={SPAN} show={percent} least={10} />
      <Chart title={t("memory")} values={all.map((one) => one.memoryBytes)} span={SPAN} show={bytes} least={1e6} />
      <Chart title={t("network")} values={rate((one) => one.netRx + one.netTx)} span={SPAN} show={per} least={1e3} />
      <Chart title={t("io")} values={rate((one) => one.ioRead + one.ioWrite)} span={SPAN} show={per} least={1e3} />
    </div>
  );
}

function Config({ container }: { container: Container }) {
  const time = (at: string | null) => at && when(at, language.value);
  return (
    <>
      <Facts
        facts={[
          ["ID", <code key="id">{container.id}</code>],
          [t("command"), <code key="command">{container.command.join(" ")}</code>],
          [t("created"), time(container.createdAt)],
          [t("started"), time(container.startedAt)],
          [t("ports"), ports(container).join(", ")],
          [t("networks"), Object.keys(container.networks ?? {}).join(", ")],
        ]}
      />
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by keys */}
      <pre class="document" tabIndex={0}>
        {JSON.stringify({ ...container }, null, 2)}
      </pre>
    </>
  );
}
