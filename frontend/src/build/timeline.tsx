import { duration } from "../format";
import { t } from "../i18n";
import { type Model, parallelism, type Step, took } from "./model";

/** When each step ran, as bars; what decides how long the build takes stands out. */
export function Timeline(props: {
  model: Model;
  steps: Step[];
  chosen: number | null;
  critical: Set<number>;
  now: number;
  choose: (id: number) => void;
}) {
  const { model, now } = props;
  const shown = props.steps.filter((step) => step.started !== null || step.ended !== null);
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
          const from = ((step.started ?? step.ended ?? now) - model.begun) / whole;
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
    </div>
  );
}
