/** A line through the latest values, on a scale that fits them. */
export function Chart(props: {
  title: string;
  values: number[];
  /** How many values fit. */
  span: number;
  /** The least that the whole height stands for. */
  least: number;
  show: (value: number) => string;
}) {
  const { values, span } = props;
  const most = Math.max(props.least, ...values) * 1.1;
  const [width, height] = [300, 90];
  const x = (index: number) => width - ((values.length - 1 - index) * width) / (span - 1);
  const y = (value: number) => height - (value * height) / most;
  const points = values.map((value, index) => `${x(index).toFixed(1)},${y(value).toFixed(1)}`);
  const last = values.at(-1);
  const area = points.length > 0 ? `M${x(0)},${height} L${points.join(" L")} L${width},${height} Z` : "";
  return (
    <figure class="chart">
      <figcaption>
        {props.title} <strong>{last === undefined ? "–" : props.show(last)}</strong>
      </figcaption>
      <svg viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none" aria-hidden="true">
        <path class="area" d={area} />
        <polyline points={points.join(" ")} />
      </svg>
      {/* A scale of nothing says nothing; its line stays, so that nothing jumps. */}
      <span class="quiet">{last === undefined ? "\u00a0" : props.show(most)}</span>
    </figure>
  );
}
