import { duration } from "../format";
import { t } from "../i18n";
import { STATES } from "../parts";
import { layout, type Placed, type Step, split, took } from "./model";

const WIDTH = 230;
const HEIGHT = 44;
const GAP = { x: 46, y: 16 };
const HEAD = 26;

/** The steps as boxes in the columns of their stages, and lines to what they need. */
export function Graph(props: { steps: Step[]; chosen: number | null; critical: Set<number>; now: number; choose: (id: number) => void }) {
  const { placed, columns, rows } = layout(props.steps);
  const x = (place: Placed) => place.column * (WIDTH + GAP.x);
  const y = (place: Placed) => HEAD + place.row * (HEIGHT + GAP.y);
  const width = Math.max(1, columns.length * (WIDTH + GAP.x) - GAP.x);
  const height = HEAD + rows * (HEIGHT + GAP.y);
  const lines: { key: string; path: string; critical: boolean }[] = [];
  for (const to of placed.values()) {
    for (const id of to.step.inputs) {
      const from = placed.get(id);
      if (!from) continue;
      const critical = props.critical.has(id) && props.critical.has(to.step.id);
      const [x1, y1] = [x(from) + WIDTH / 2, y(from) + HEIGHT];
      const [x2, y2] = [x(to) + WIDTH / 2, y(to)];
      const bend = Math.max(14, (y2 - y1) / 2);
      lines.push({
        key: `${id}-${to.step.id}`,
        path: `M${x1},${y1} C${x1},${y1 + bend} ${x2},${y2 - bend} ${x2},${y2}`,
        critical,
      });
    }
  }
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by keys
    <section class="scroll graph" tabIndex={0} aria-label={t("graph")}>
      <div class="canvas" style={{ width: `${width}px`, height: `${height}px` }}>
        <svg width={width} height={height} aria-hidden="true">
          {lines.map((line) => (
            <path key={line.key} d={line.path} class={line.critical ? "critical" : ""} />
          ))}
        </svg>
        {columns.map((name, index) => (
          <div key={name} class="stage" style={{ left: `${index * (WIDTH + GAP.x)}px`, width: `${WIDTH}px` }}>
            {name}
          </div>
        ))}
        {[...placed.values()].map((place) => {
          const { step } = place;
          const { mark, rest } = split(step.name);
          return (
            <button
              key={step.id}
              type="button"
              data-row
              data-step={step.id}
              data-state={step.state}
              class={`node is-${step.state} ${props.critical.has(step.id) ? "critical" : ""}`}
              aria-pressed={props.chosen === step.id}
              title={step.name}
              style={{ left: `${x(place)}px`, top: `${y(place)}px`, width: `${WIDTH}px`, height: `${HEIGHT}px` }}
              onClick={() => props.choose(step.id)}
            >
              <span class="what">{rest}</span>
              <span class="facts-line">
                <span class="mark" aria-hidden="true" />
                {t(STATES[step.state] ?? "waiting")}
                <span class="spread" />
                {mark}
                {step.started !== null && step.state !== "cached" && ` · ${duration(took(step, props.now))}`}
              </span>
            </button>
          );
        })}
      </div>
    </section>
  );
}
