import { useEffect, useRef } from "preact/hooks";
import type { ViewProps } from "../app";
import { type Attestation, type Build, part, send } from "../api";
import { Graph } from "../build/graph";
import { useBuild } from "../build/live";
import { criticalPath, type Model, type Step, took } from "../build/model";
import { hitText, missText } from "../build/reason";
import { Timeline } from "../build/timeline";
import { duration, short, when } from "../format";
import { language, t } from "../i18n";
import { useDocument } from "../live";
import { LogView } from "../log";
import { Action, Badge, Facts, Panel, Ready, STATES, Tabs } from "../parts";
import { go, set } from "../router";
import { familiar, words } from "./builds";

export function BuildPage({ parts, query, readOnly }: ViewProps) {
  const ref = parts[1] ?? "";
  const build = useDocument<Build>(`/builds/${part(ref)}`, "builds");
  return <Ready of={build}>{(record) => <One key={record.ref} record={record} query={query} readOnly={readOnly} />}</Ready>;
}

function One({ record, query, readOnly }: { record: Build; query: URLSearchParams; readOnly: boolean }) {
  const { model, version, ended, now } = useBuild(record.ref, record.status !== "running");
  // The end is told once everything before it was: what is shown is of one moment.
  const opened = useRef(record.status).current;
  const build = ended ?? { ...record, status: opened };
  const all = [...model.steps.values()];
  const steps = model.real();
  const critical = criticalPath(all);
  const tab = query.get("tab") ?? "graph";
  const wanted = Number(query.get("step"));
  const chosen = model.steps.get(wanted) ?? null;
  const choose = (id: number) => set("step", String(id));
  // Who opens a failed build wants to know what failed.
  const failed = all.find((step) => step.state === "failed");
  useEffect(() => {
    if (failed && !query.get("step")) choose(failed.id);
  }, [failed?.id]);
  const took = build.status === "running" && model.begun ? now - model.begun : build.durationMs;
  return (
    <>
      <div class="head">
        <div>
          <h1>{build.name || build.ref}</h1>
          <p class="line-of-facts">
            <Badge state={build.status} />
            <span>{duration(took)}</span>
            <span>{when(build.createdAt, language.value)}</span>
            <span>
              {t("steps")} {build.steps.total === 0 ? steps.length : `${build.steps.completed}/${build.steps.total}`}
            </span>
          </p>
          {build.trigger && (
            <p class="asked">
              <code>$ {words(build.trigger)}</code> <span class="quiet">{t("by", build.trigger.directory, build.trigger.user)}</span>
            </p>
          )}
        </div>
        {!readOnly && (
          <Action
            title={t("remove")}
            sure={t("sure", build.name)}
            danger
            disabled={build.status === "running"}
            act={() => send("DELETE", `/builds/${part(build.ref)}`).then(() => go("/builds"))}
          />
        )}
      </div>
      {build.error && (
        <p class="failure" role="alert">
          {build.error}
        </p>
      )}
      {model.warnings.map((warning) => (
        <p class="warning" key={warning.message}>
          {warning.message}
        </p>
      ))}
      <Tabs
        label={t("builds")}
        now={tab}
        to={(id) => set("tab", id)}
        tabs={[
          { id: "graph", title: t("graph") },
          { id: "timeline", title: t("timeline") },
          { id: "source", title: t("source") },
          { id: "results", title: t("results") },
        ]}
      />
      <Panel tab={tab}>
        {tab === "graph" && (
          <div class="with-source">
            <Graph steps={steps} chosen={chosen?.id ?? null} critical={critical} now={now} choose={choose} />
            {model.dockerfile && <Source model={model} chosen={chosen} choose={choose} />}
          </div>
        )}
        {tab === "timeline" && (
          <div class="with-source">
            <Timeline
              model={model}
              steps={all}
              chosen={chosen?.id ?? null}
              critical={critical}
              now={now}
              over={build.status !== "running"}
              choose={choose}
            />
            {model.dockerfile && <Source model={model} chosen={chosen} choose={choose} />}
          </div>
        )}
        {tab === "source" && <Source model={model} chosen={chosen} choose={choose} />}
        {tab === "results" && <Results build={build} />}
      </Panel>
      {tab !== "results" && <Chosen model={model} step={chosen} now={now} version={version} />}
    </>
  );
}

function Chosen({ model, step, now, version }: { model: Model; step: Step | null; now: number; version: number }) {
  if (!step) return <p class="quiet hint">{t("noStep")}</p>;
  const causes = step.miss?.causes.map((id) => model.steps.get(id)).filter((one) => one !== undefined) ?? [];
  return (
    <section class="chosen" aria-label={t("step")}>
      <h2>{step.name}</h2>
      <p class="line-of-facts">
        <Badge state={step.state} />
        {step.started !== null && <span>{duration(took(step, now))}</span>}
        {step.result && <code>{short(step.result)}</code>}
      </p>
      {step.miss && (
        <p class="why">
          <strong>{t("why")}:</strong> {missText(step.miss)}
          {causes.map((cause) => (
            <button key={cause.id} type="button" class="link" onClick={() => set("step", String(cause.id))}>
              ← {cause.name}
            </button>
          ))}
          {step.miss.advice && <em> {step.miss.advice}</em>}
        </p>
      )}
      {step.hit !== null && (
        <p class="why">
          <strong>{t("whyHit")}:</strong> {hitText(step.hit)}
        </p>
      )}
      {step.error && <p class="failure">{step.error}</p>}
      {step.notes.map((note) => (
        <p class="quiet" key={note}>
          {note}
        </p>
      ))}
      {[...step.progress.values()].map((one) => (
        <p class="quiet progress-line" key={one.item}>
          <span>{one.item}</span>
          <progress value={one.done ? 1 : one.current} max={one.done ? 1 : (one.total ?? undefined)} aria-label={one.item} />
        </p>
      ))}
      {(step.log.lines.length > 0 || step.state === "running" || step.state === "failed") && (
        <LogView
          key={step.id}
          lines={step.log.lines}
          version={version}
          label={`${t("log")}: ${step.name}`}
          live={step.state === "running"}
          end={step.state === "failed"}
        />
      )}
    </section>
  );
}

/** The Dockerfile with the state of each instruction beside it. */
function Source({ model, chosen, choose }: { model: Model; chosen: Step | null; choose: (id: number) => void }) {
  const pane = useRef<HTMLElement>(null);
  const text = model.dockerfile?.text;
  // What is chosen elsewhere is brought into sight here, and only here.
  useEffect(() => {
    const line = pane.current?.querySelector<HTMLElement>(".chosen-line");
    if (!pane.current || !line) return;
    const [top, height] = [line.offsetTop - pane.current.offsetTop, pane.current.clientHeight];
    if (top < pane.current.scrollTop || top > pane.current.scrollTop + height - 44) pane.current.scrollTop = top - height / 3;
  }, [chosen?.id, text]);
  if (text === undefined) return <p class="quiet">{t("loading")}</p>;
  // The first step of those that share a line, as a heredoc's do.
  const steps = new Map<number, Step>();
  for (const step of model.real().reverse()) {
    if (!step.lines) continue;
    for (let line = step.lines[0]; line <= step.lines[1]; line++) steps.set(line, step);
  }
  const lines = text.replace(/\n$/, "").split("\n");
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by keys
    <section class="scroll source" ref={pane} tabIndex={0} aria-label={model.dockerfile?.name ?? t("source")}>
      <ol>
        {lines.map((line, index) => {
          const number = index + 1;
          const step = steps.get(number);
          const first = step?.lines?.[0] === number;
          return (
            <li key={index} class={`${step ? `is-${step.state}` : ""} ${step && step === chosen ? "chosen-line" : ""}`}>
              <span class="number" aria-hidden="true">
                {number}
              </span>
              {step && first ? (
                <button type="button" data-row class="link" onClick={() => choose(step.id)}>
                  <span class="mark" aria-hidden="true" />
                  <span class="unseen">{t(STATES[step.state] ?? "waiting")}: </span>
                  <code>{line}</code>
                </button>
              ) : (
                <code>{line}</code>
              )}
            </li>
          );
        })}
      </ol>
    </section>
  );
}

function Results({ build }: { build: Build }) {
  return (
    <>
      <Made build={build} />
      <h2>{t("attestations")}</h2>
      <Attestations build={build} />
    </>
  );
}

/** What was said about the result, and kept beside it. */
function Attestations({ build }: { build: Build }) {
  const said = useDocument<Attestation[]>(`/builds/${part(build.ref)}/attestations`, "builds");
  return (
    <Ready of={said}>
      {(list) => (
        <>
          {list.length === 0 && (
            <div class="nothing">
              <p class="quiet">{t("noAttestations")}</p>
              <pre>bld build --push -t registry.example/app --provenance=true --sbom=true .</pre>
            </div>
          )}
          {list.map((one) => (
            <section key={one.predicateType} class="attestation" aria-label={one.predicateType}>
              <h3>
                <code>{one.predicateType}</code>
              </h3>
              {one.places.map((place) => (
                <p key={place} class="quiet">
                  <code>{place}</code>
                </p>
              ))}
              {one.predicate !== null && (
                <details>
                  <summary>{t("predicate")}</summary>
                  {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by keys */}
                  <pre class="document" tabIndex={0}>
                    {JSON.stringify(one.predicate, null, 2)}
                  </pre>
                </details>
              )}
            </section>
          ))}
          {build.image && (
            <p>
              <a href={`/images/${part(build.image)}?tab=packages`}>{t("packagesOf")}</a>
            </p>
          )}
        </>
      )}
    </Ready>
  );
}

function Made({ build }: { build: Build }) {
  return (
    <Facts
      facts={[
        [t("image"), build.image && <a href={`/images/${part(build.image)}`}>{short(build.image)}</a>],
        [t("names"), build.names.map(familiar).join(", ")],
        [t("context"), build.context],
        ["Dockerfile", build.dockerfile],
        ["--target", build.target],
        [t("platform"), build.platform],
        [t("network"), build.network],
        ["--no-cache", build.noCache ? "✓" : ""],
        [
          t("arguments"),
          build.buildArgs.length > 0 && (
            <ul class="plain">
              {build.buildArgs.map((one) => (
                <li key={one.name}>
                  <code>
                    {one.name}={one.value ?? `(${t("hidden")})`}
                  </code>
                </li>
              ))}
            </ul>
          ),
        ],
        ["Ref", <code key="ref">{build.ref}</code>],
      ]}
    />
  );
}
