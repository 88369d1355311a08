import { duration } from "../format";
import { t } from "../i18n";
import { type Model, parallelism, type Step, spent, took } from "./model";

/** When each step ran, as bars; what decides how long the build takes stands out. */
export function Timeline(props: {
  model: Model;
  steps: Step[];
  chosen: number | null;
  critical: Set<number>;
  now: number;
  over: boolean;
  choose: (id: number) => void;
}) {
  const { model, now } = props;
  // In the order in which they began: what comes is put below what is there.
  const begun = (step: Step) => step.started ?? step.ended ?? now;
  const shown = props.steps.filter((step) => step.started !== null || step.ended !== null).sort((a, b) => begun(a) - begun(b));
  const whole = Math.max(1, now - model.begun);
  const { most, average } = parallelism(props.steps, now);
  const ticks = [0, 0.25, 0.5, 0.75, 1];
  return (
    <div class="timeline">
      <p class="quiet">
        {t("parallel", most, average.toFixed(1))} · <span class="legend" aria-hidden="true" /> {t("criticalPath")}
      </p>
      <div class="axis" aria-hidden="true">
        {ticks.map((tick) => (
          <span key={tick} style={{ left: `${tick * 100}%` }}>
            {duration(whole * tick)}
          </span>
        ))}
      </div>
      <ol>
        {shown.map((step) => {
          const from = (begun(step) - model.begun) / whole;
          const length = step.state === "cached" ? 0 : took(step, now) / whole;
          return (
            <li key={step.id}>
              <button
                type="button"
                data-row
                data-bar={step.id}
                class={`is-${step.state} ${props.critical.has(step.id) ? "critical" : ""}`}
                aria-pressed={props.chosen === step.id}
                onClick={() => props.choose(step.id)}
              >
                <span class="what">{step.name}</span>
                <span class="lane" aria-hidden="true">
                  <span class="bar" style={{ left: `${Math.min(from, 0.995) * 100}%`, width: `${Math.max(length * 100, 0.4)}%` }} />
                </span>
                <span class="time">{step.state === "cached" ? t("cachedState") : duration(took(step, now))}</span>
              </button>
            </li>
          );
        })}
      </ol>
      {props.over && <Spent {...spent(props.steps, props.critical, whole)} whole={whole} />}
    </div>
  );
}

/** Named one by one; the others together. */
const NAMED = 4;

/** What the time of the build was made of, as shares of one bar. */
function Spent({ parts, rest, whole }: { parts: { step: Step; ms: number }[]; rest: number; whole: number }) {
  const named = parts.slice(0, NAMED);
  const other = parts.slice(NAMED).reduce((sum, { ms }) => sum + ms, rest);
  const share = (ms: number) => `${Math.round((ms * 100) / whole)} %`;
  return (
    <div class="spent">
      <h2>{t("spent")}</h2>
      <div class="shares" aria-hidden="true">
        {named.map(({ step, ms }) => (
          <span key={step.id} class={`is-${step.state}`} style={{ flexGrow: ms }} title={step.name} />
        ))}
        <span style={{ flexGrow: other }} title={t("otherTime")} />
      </div>
      <ul class="plain" aria-label={t("spent")}>
        {named.map(({ step, ms }) => (
          <li key={step.id}>
            <code>{step.name}</code> {duration(ms)} ({share(ms)})
          </li>
        ))}
        <li>
          {t("otherTime")} {duration(other)} ({share(other)})
        </li>
      </ul>
    </div>
  );
}
